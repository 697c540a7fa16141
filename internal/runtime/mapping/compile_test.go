package mapping

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// subscription is a valid one; mutate changes it.
func subscription(mutate func(*spec.Subscription)) spec.Subscription {
	s := spec.Subscription{
		Version: spec.Version,
		Entity:  "ticket",
		Source: spec.Source{HTTP: &spec.HTTPSource{
			Request: spec.Request{Path: "/issues"},
			ID:      "string(record.id)",
			Order:   spec.OrderNone,
		}},
		Tombstone: "has(record.deleted_at) && record.deleted_at != null",
		Filter:    "!has(record.pull_request)",
		Mapping: []spec.Field{
			{Name: "title", From: "title", Type: spec.Text},
			{Name: "state", Expr: "record.state == 'closed' ? 'done' : 'open'", Type: spec.Text},
			{Name: "amount", From: "money.amount", Type: spec.Numeric},
		},
		Sink: spec.Sink{Schema: "public", Table: "tickets"},
	}
	if mutate != nil {
		mutate(&s)
	}
	return s
}

func TestCompileReportsEveryProblem(t *testing.T) {
	_, problems := Compile(subscription(func(s *spec.Subscription) {
		s.Source.HTTP.ID = "record.id >"
		s.Source.HTTP.Records = "size(body)"
		s.Source.HTTP.Cursor = &spec.Cursor{Timestamp: &spec.TimestampCursor{From: "a..b"}}
		s.Tombstone = "'yes'"
		s.Filter = "nope"
		s.Mapping = []spec.Field{
			{Name: "id", From: "a", Type: spec.Text},
			{Name: "a", From: "a", Expr: "record.a", Type: "float"},
			{Name: "a", Type: spec.Text},
			{Name: "2b", From: "a.", Type: spec.Text},
			{Name: strings.Repeat("x", 64), Expr: "size(record.b)", Type: spec.Boolean},
			{Name: "ctid", Expr: "record.a +\n  b + c", Type: spec.Text},
		}
		s.Sink.DiffIgnore = []string{"a", "z"}
	}))
	var got []string
	for _, p := range problems {
		if p.Message == "" {
			t.Errorf("problem at %s has no message", p.Field)
		}
		got = append(got, p.Field)
	}
	want := []string{
		"source.http.id", "source.http.records", "source.http.cursor.timestamp.from", "deletes.tombstone", "filter",
		"mapping[0].field", "mapping[1].type", "mapping[1]", "mapping[2].field", "mapping[2]", "mapping[3].field", "mapping[3].from",
		"mapping[4].field", "mapping[4].expr", "mapping[5].field", "mapping[5].expr", "mapping[5].expr", "sink.diff.ignore[1]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("problems (-want +got):\n%s\n%v", d, problems)
	}
	last := problems[len(problems)-2]
	if last.Line != 2 || last.Column != 7 || last.Expression == "" {
		t.Errorf("problem %+v should point at line 2, column 7 of its expression", last)
	}
}

func TestCompileReportsOneProblem(t *testing.T) {
	tests := map[string]struct {
		mutate func(*spec.Subscription)
		field  string
		want   string
	}{
		"no source":         {func(s *spec.Subscription) { s.Source.HTTP = nil }, "source", "needs a source"},
		"no id":             {func(s *spec.Subscription) { s.Source.HTTP.ID = "" }, "source.http.id", "needs an id"},
		"id is a boolean":   {func(s *spec.Subscription) { s.Source.HTTP.ID = "true" }, "source.http.id", "gives bool"},
		"id is a decimal":   {func(s *spec.Subscription) { s.Source.HTTP.ID = "1.5" }, "source.http.id", "gives decimal"},
		"records is a path": {func(s *spec.Subscription) { s.Source.HTTP.Records = "a..b" }, "source.http.records", "Syntax error"},
		"token path": {
			func(s *spec.Subscription) { s.Source.HTTP.Cursor = &spec.Cursor{Token: &spec.TokenCursor{From: ".a"}} }, "source.http.cursor.token.from", "empty step",
		},
		"filter is a number": {func(s *spec.Subscription) { s.Filter = "size(record.a)" }, "filter", "gives int"},
		"nothing mapped":     {func(s *spec.Subscription) { s.Mapping = nil }, "mapping", "at least one"},
		"reserved name":      {func(s *spec.Subscription) { s.Mapping[0].Name = "updated_at" }, "mapping[0].field", "source_updated_at"},
		"empty name":         {func(s *spec.Subscription) { s.Mapping[0].Name = "" }, "mapping[0].field", "needs a name"},
		"text of a list":     {func(s *spec.Subscription) { s.Mapping[1].Expr = "[record.a]" }, "mapping[1].expr", "does not fit text"},
		"jsonb of bytes": {
			func(s *spec.Subscription) { s.Mapping[1] = spec.Field{Name: "b", Expr: "b'a'", Type: spec.JSONB} }, "mapping[1].expr", "does not fit jsonb",
		},
		"uuid of an int": {
			func(s *spec.Subscription) { s.Mapping[1] = spec.Field{Name: "b", Expr: "1", Type: spec.UUID} }, "mapping[1].expr", "does not fit uuid",
		},
		"date of an int": {
			func(s *spec.Subscription) { s.Mapping[1] = spec.Field{Name: "b", Expr: "1", Type: spec.Date} }, "mapping[1].expr", "does not fit date",
		},
		"optional of a list": {func(s *spec.Subscription) { s.Mapping[1].Expr = "optional.of([1])" }, "mapping[1].expr", "does not fit text"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			program, problems := Compile(subscription(tc.mutate))
			if program != nil || len(problems) != 1 {
				t.Fatalf("program %v and problems %v, want exactly one problem", program, problems)
			}
			if p := problems[0]; p.Field != tc.field || !strings.Contains(p.Message, tc.want) {
				t.Errorf("problem is %s, want %q at %s", p, tc.want, tc.field)
			}
		})
	}
}

func TestCompileAcceptsWhatFits(t *testing.T) {
	fields := []spec.Field{
		{Name: "a", Expr: "record.a", Type: spec.UUID},
		{Name: "b", Expr: "record.?a", Type: spec.Date},
		{Name: "c", Expr: "null", Type: spec.BigInt},
		{Name: "d", Expr: "optional.of(1)", Type: spec.Numeric},
		{Name: "e", Expr: "record.a ? 1.5 : record.b", Type: spec.Numeric},
		{Name: "f", Expr: "{'a': [1, 2.5]}", Type: spec.JSONB},
		{Name: "g", Expr: "timestamp(record.a)", Type: spec.TimestampTZ},
		{Name: "Mixed_Case9", From: "a.0.b", Type: spec.Boolean},
		{Name: strings.Repeat("x", 63), Expr: "size(record.a) > 1", Type: spec.Text},
	}
	program, problems := Compile(subscription(func(s *spec.Subscription) { s.Mapping = fields }))
	if program == nil || len(problems) > 0 {
		t.Fatalf("problems %v, want none", problems)
	}
}
