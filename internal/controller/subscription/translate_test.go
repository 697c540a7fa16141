package subscription

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// fullSpec sets every field to something that is not its default.
func fullSpec() *v1alpha1.IntegrationSubscriptionSpec {
	return &v1alpha1.IntegrationSubscriptionSpec{
		PoolRef:       v1alpha1.PoolReference{Name: "batch"},
		ConnectionRef: v1alpha1.ConnectionReference{Name: "crm"},
		Entity:        "contact",
		Schedule:      &v1alpha1.Schedule{Cron: "0 3 * * *", TimeZone: "Europe/Berlin"},
		Source: v1alpha1.Source{HTTP: &v1alpha1.HTTPSource{
			Request: v1alpha1.HTTPRequest{
				Path:    "/contacts",
				Query:   []v1alpha1.QueryParameter{{Name: "since", Value: new("{cursor}")}, {Name: "page", Value: new("{page}")}},
				Headers: []v1alpha1.RequestHeader{{Name: "Accept", Value: "application/json"}},
			},
			Records: "items", ID: "string(record.id)",
			Pagination: &v1alpha1.Pagination{Page: &v1alpha1.PagePagination{First: new(int32(1)), Size: 50}},
			Cursor: &v1alpha1.Cursor{Timestamp: &v1alpha1.TimestampCursor{
				From: "updated", Format: v1alpha1.TimestampFormatSpaced, LookbackSeconds: new(int32(120)), SettleSeconds: new(int32(5)),
			}},
			Order:  v1alpha1.RecordOrderAscending,
			Limits: v1alpha1.SourceLimits{MaxPages: 10, MaxPageBytes: 2048, MaxRunBytes: 4096},
		}},
		Deletes: &v1alpha1.Deletes{Tombstone: "record.deleted"},
		Filter:  "!record.hidden",
		Mapping: []v1alpha1.FieldMapping{
			{Field: "name", From: "name", Type: v1alpha1.FieldTypeText, History: v1alpha1.FieldHistoryMasked},
			{Field: "stage", Expr: "record.stage", Type: v1alpha1.FieldTypeText, History: v1alpha1.FieldHistoryValues},
		},
		Sink: v1alpha1.Sink{
			Schema: "public", Table: "contacts", Management: v1alpha1.SinkExisting, Delete: v1alpha1.SinkDeleteHard,
			Diff: &v1alpha1.Diff{Ignore: []string{"stage"}},
		},
		EmitChanges:    new(true),
		OnRecordError:  v1alpha1.OnRecordError{QuarantineAfter: 2, StopRatio: "0.5"},
		Audit:          v1alpha1.Audit{RetentionSeconds: 7200},
		Suspend:        new(true),
		DeletionPolicy: v1alpha1.DeletionPolicyDelete,
	}
}

func fullDocument() spec.Subscription {
	return spec.Subscription{
		Version: 1, Entity: "contact",
		Schedule: &spec.Schedule{Cron: "0 3 * * *", TimeZone: "Europe/Berlin"},
		Source: spec.Source{HTTP: &spec.HTTPSource{
			Request: spec.Request{
				Path:    "/contacts",
				Query:   []spec.NameValue{{Name: "since", Value: "{cursor}"}, {Name: "page", Value: "{page}"}},
				Headers: []spec.NameValue{{Name: "Accept", Value: "application/json"}},
			},
			Records: "items", ID: "string(record.id)",
			Pagination: spec.Pagination{Page: &spec.PagePagination{First: 1, Size: 50}},
			Cursor: &spec.Cursor{Timestamp: &spec.TimestampCursor{
				From: "updated", Format: spec.FormatSpaced, LookbackSeconds: 120, SettleSeconds: 5,
			}},
			Order: spec.OrderAscending, Limits: spec.Limits{MaxPages: 10, MaxPageBytes: 2048, MaxRunBytes: 4096},
		}},
		Tombstone: "record.deleted", Filter: "!record.hidden",
		Mapping: []spec.Field{{Name: "name", From: "name", Type: spec.Text, History: spec.Masked}, {Name: "stage", Expr: "record.stage", Type: spec.Text}},
		Sink: spec.Sink{
			Schema: "public", Table: "contacts", Management: spec.Existing, Delete: spec.HardDelete, DiffIgnore: []string{"stage"},
		},
		EmitChanges: true, OnError: spec.OnRecordError{QuarantineAfter: 2, StopRatio: "0.5"}, AuditRetentionSeconds: 7200,
	}
}

func TestTranslateLeavesNothingOut(t *testing.T) {
	if diff := cmp.Diff(fullDocument(), Translate(fullSpec())); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

func TestTranslateOfTheOtherUnionMembers(t *testing.T) {
	s := fullSpec()
	s.Schedule = &v1alpha1.Schedule{PeriodSeconds: 60}
	s.Source.HTTP.Pagination = &v1alpha1.Pagination{LinkHeader: &v1alpha1.LinkHeaderPagination{}}
	s.Source.HTTP.Cursor = &v1alpha1.Cursor{Token: &v1alpha1.TokenCursor{From: "next"}}
	s.Deletes, s.EmitChanges, s.Sink.Diff = nil, nil, nil
	want := fullDocument()
	want.Schedule = &spec.Schedule{PeriodSeconds: 60}
	want.Source.HTTP.Pagination = spec.Pagination{LinkHeader: &spec.LinkHeader{}}
	want.Source.HTTP.Cursor = &spec.Cursor{Token: &spec.TokenCursor{From: "next"}}
	want.Tombstone, want.EmitChanges, want.Sink.DiffIgnore = "", false, nil
	if diff := cmp.Diff(want, Translate(s)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

func TestWorkersReadWhatIsWritten(t *testing.T) {
	text, err := document(Translate(fullSpec()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := spec.Decode[spec.Subscription](text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullDocument(), got); diff != "" {
		t.Errorf("document as a worker reads it (-want +got):\n%s", diff)
	}
}

func TestCompileNamesEveryProblemAndItsPlace(t *testing.T) {
	sub := &v1alpha1.IntegrationSubscription{Spec: *fullSpec()}
	sub.Spec.Mapping[1].Expr = "record.stage +"
	sub.Spec.Filter = "record.hidden ||"
	sub.Spec.Source.HTTP.Request.Path = "/records/{a_b}"
	c, err := compile(sub)
	if err != nil {
		t.Fatal(err)
	}
	if c.document != nil || !c.verdict.Stalls() || c.verdict.Reason != v1alpha1.ReasonCompileFailed {
		t.Errorf("a spec that does not compile gives document %q and verdict %+v", c.document, c.verdict)
	}
	for _, part := range []string{"spec.mapping[1].expr (line 1, column ", "spec.filter (line 1, column ", "spec.source.http.request.path"} {
		if !strings.Contains(c.verdict.Message, part) {
			t.Errorf("message %q lacks %q", c.verdict.Message, part)
		}
	}
}

func TestScheduleThatNeverFiresIsRefused(t *testing.T) {
	sub := &v1alpha1.IntegrationSubscription{Spec: *fullSpec()}
	sub.Spec.Schedule = &v1alpha1.Schedule{Cron: "0 3 31 2 *"}
	c, err := compile(sub)
	if err != nil {
		t.Fatal(err)
	}
	if c.verdict.Reason != v1alpha1.ReasonInvalidSchedule {
		t.Errorf("31 February gives %+v", c.verdict)
	}
}
