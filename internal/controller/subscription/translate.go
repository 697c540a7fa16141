package subscription

import (
	"encoding/json"
	"fmt"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Translate gives the document that workers read.
func Translate(s *v1alpha1.IntegrationSubscriptionSpec) spec.Subscription {
	doc := spec.Subscription{
		Version:     spec.Version,
		Entity:      s.Entity,
		Schedule:    translateSchedule(s.Schedule),
		Source:      spec.Source{HTTP: translateHTTP(s.Source.HTTP)},
		Filter:      s.Filter,
		Sink:        translateSink(&s.Sink),
		EmitChanges: s.EmitChanges != nil && *s.EmitChanges,
		OnError: spec.OnRecordError{
			QuarantineAfter: int(s.OnRecordError.QuarantineAfter), StopRatio: s.OnRecordError.StopRatio,
		},
		AuditRetentionSeconds: int64(s.Audit.RetentionSeconds),
	}
	if s.Deletes != nil {
		doc.Tombstone = s.Deletes.Tombstone
	}
	for _, f := range s.Mapping {
		doc.Mapping = append(doc.Mapping, spec.Field{
			Name: f.Field, From: f.From, Expr: f.Expr, Type: spec.FieldType(f.Type), History: history(f.History),
		})
	}
	return doc
}

// history is empty where values are told, so that the documents of subscriptions that mask nothing stay as they are.
func history(h v1alpha1.FieldHistory) spec.FieldHistory {
	if h == v1alpha1.FieldHistoryValues {
		return ""
	}
	return spec.FieldHistory(h)
}

func translateSchedule(s *v1alpha1.Schedule) *spec.Schedule {
	if s == nil {
		return nil
	}
	return &spec.Schedule{PeriodSeconds: int64(s.PeriodSeconds), Cron: s.Cron, TimeZone: s.TimeZone}
}

func translateHTTP(s *v1alpha1.HTTPSource) *spec.HTTPSource {
	if s == nil {
		return nil
	}
	return &spec.HTTPSource{
		Request:    translateRequest(&s.Request),
		Records:    s.Records,
		ID:         s.ID,
		Pagination: translatePagination(s.Pagination),
		Cursor:     translateCursor(s.Cursor),
		Order:      spec.Order(s.Order),
		Limits: spec.Limits{
			MaxPages: int(s.Limits.MaxPages), MaxPageBytes: s.Limits.MaxPageBytes, MaxRunBytes: s.Limits.MaxRunBytes,
		},
	}
}

func translateRequest(r *v1alpha1.HTTPRequest) spec.Request {
	request := spec.Request{Path: r.Path}
	for _, q := range r.Query {
		request.Query = append(request.Query, spec.NameValue{Name: q.Name, Value: orZero(q.Value)})
	}
	for _, h := range r.Headers {
		request.Headers = append(request.Headers, spec.NameValue{Name: h.Name, Value: h.Value})
	}
	return request
}

func translatePagination(p *v1alpha1.Pagination) spec.Pagination {
	switch {
	case p == nil:
		return spec.Pagination{}
	case p.Page != nil:
		return spec.Pagination{Page: &spec.PagePagination{First: int(orZero(p.Page.First)), Size: int(p.Page.Size)}}
	case p.LinkHeader != nil:
		return spec.Pagination{LinkHeader: &spec.LinkHeader{}}
	}
	return spec.Pagination{}
}

func translateCursor(c *v1alpha1.Cursor) *spec.Cursor {
	switch {
	case c == nil:
		return nil
	case c.Timestamp != nil:
		t := c.Timestamp
		return &spec.Cursor{Timestamp: &spec.TimestampCursor{
			From: t.From, Format: spec.TimestampFormat(t.Format),
			LookbackSeconds: int64(orZero(t.LookbackSeconds)), SettleSeconds: int64(orZero(t.SettleSeconds)),
		}}
	case c.Token != nil:
		return &spec.Cursor{Token: &spec.TokenCursor{From: c.Token.From}}
	}
	return nil
}

func translateSink(s *v1alpha1.Sink) spec.Sink {
	sink := spec.Sink{
		Schema: s.Schema, Table: s.Table,
		Management: spec.SinkManagement(s.Management), Delete: spec.DeleteMode(s.Delete),
	}
	if s.Diff != nil {
		sink.DiffIgnore = s.Diff.Ignore
	}
	return sink
}

func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// document encodes what Translate gives.
func document(doc spec.Subscription) (json.RawMessage, error) {
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the subscription: %w", err)
	}
	return text, nil
}
