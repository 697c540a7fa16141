package events_test

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"

	"github.com/syncline-dev/syncline/internal/runtime/events"
)

var (
	subscription = uuid.MustParse("6a2f41a3-c54c-5b57-8c1c-0d7a3a5c0001")
	local        = uuid.MustParse("0188e9a6-0000-7000-8000-00000000000a")
)

func TestIDIsTheSameForTheSameChangeAndForNoOther(t *testing.T) {
	id := events.ID(subscription, local, 3)
	// Consumers keep these ids for deduplication: a release that computes them differently repeats every event.
	if want := "c47e618b-171d-5ce8-9cc2-9c62cedb3483"; id.String() != want {
		t.Errorf("id is %s, want %s", id, want)
	}
	for name, other := range map[string]uuid.UUID{
		"version": events.ID(subscription, local, 4), "row": events.ID(subscription, subscription, 3), "subscription": events.ID(local, local, 3),
	} {
		if other == id {
			t.Errorf("another %s has the same id %s", name, id)
		}
	}
}

func TestPayload(t *testing.T) {
	fields := json.RawMessage(`{"n":{"from":9007199254740992,"to":9007199254740993}}`)
	change := func(edit func(*events.Change)) events.Change {
		c := events.Change{Verb: events.Edited, EntityID: local, ExternalID: "x", Provider: "gitea", ChangedFields: fields}
		if edit != nil {
			edit(&c)
		}
		return c
	}
	const head = `{"entityId":"0188e9a6-0000-7000-8000-00000000000a","externalId":"x","provider":"gitea"`
	for name, tc := range map[string]struct {
		change events.Change
		want   string // empty: refused
	}{
		"edited":  {change(nil), head + `,"changedFields":` + string(fields) + `,"source":"integration"}`},
		"created": {change(func(c *events.Change) { c.Verb = events.Created }), head + `,"changedFields":` + string(fields) + `,"source":"integration"}`},
		"resurrected": {
			change(func(c *events.Change) {
				c.Verb, c.Resurrected, c.ChangedFields = events.Created, true, json.RawMessage(`{}`)
			}),
			head + `,"changedFields":{},"resurrected":true,"source":"integration"}`,
		},
		"deleted":                     {change(func(c *events.Change) { c.Verb, c.ChangedFields = events.Deleted, nil }), head + `,"source":"integration"}`},
		"deleted with changed fields": {change(func(c *events.Change) { c.Verb = events.Deleted }), ""},
		"edited without":              {change(func(c *events.Change) { c.ChangedFields = nil }), ""},
		"resurrected edit":            {change(func(c *events.Change) { c.Resurrected = true }), ""},
		"unknown verb":                {change(func(c *events.Change) { c.Verb = "updated" }), ""},
		"no row":                      {change(func(c *events.Change) { c.EntityID = uuid.Nil }), ""},
		"no external id":              {change(func(c *events.Change) { c.ExternalID = "" }), ""},
		"no provider":                 {change(func(c *events.Change) { c.Provider = "" }), ""},
		"broken changed fields":       {change(func(c *events.Change) { c.ChangedFields = json.RawMessage(`{`) }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := events.Payload(tc.change)
			if (err != nil) != (tc.want == "") || string(got) != tc.want {
				t.Errorf("payload is %s, %v\nwant       %s", got, err, tc.want)
			}
		})
	}
	if got := events.Type("ticket", events.Deleted); got != "ticket_deleted" {
		t.Errorf("type is %q, want ticket_deleted", got)
	}
}
