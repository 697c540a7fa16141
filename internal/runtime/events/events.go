// Package events makes change events: their names, ids and payloads.
//
// It is pure. The integration package writes the events into the outbox, in the transaction of the change they tell of;
// how they leave the outbox is another package's business.
package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"
)

// Verb is what happened to a row, as the second half of an event's type.
type Verb string

const (
	// Created is a row that was not there, or was deleted before.
	Created Verb = "created"
	// Edited is a row with other values than before.
	Edited Verb = "edited"
	// Deleted is a row that is gone, or marked so.
	Deleted Verb = "deleted"
)

// Source is the origin that every event of an integration names, so that a consumer who writes back to the provider
// can tell its own echo.
const Source = "integration"

// Type is the event's type, such as ticket_edited.
func Type(entity string, verb Verb) string { return entity + "_" + string(verb) }

// ID is the event's id: UUIDv5 of the subscription, the row's local id and the version that the change gave the row.
// Whoever writes the same change again writes the same event.
func ID(subscription, local uuid.UUID, version int64) uuid.UUID {
	return uuid.NewSHA1(subscription, []byte(local.String()+"/"+strconv.FormatInt(version, 10)))
}

// Change is what an event tells.
type Change struct {
	Verb       Verb
	EntityID   uuid.UUID
	ExternalID string
	// Provider is the label of the connection.
	Provider string
	// ChangedFields is {field: {from, to}} of what changed; nil exactly when the row was deleted.
	ChangedFields json.RawMessage
	// Resurrected marks a created row that had been deleted before.
	Resurrected bool
}

// payload is the JSON that consumers read. Its fields are a promise: none is added, renamed or left out silently.
type payload struct {
	EntityID      uuid.UUID       `json:"entityId"`
	ExternalID    string          `json:"externalId"`
	Provider      string          `json:"provider"`
	ChangedFields json.RawMessage `json:"changedFields,omitempty"`
	Resurrected   bool            `json:"resurrected,omitempty"`
	Source        string          `json:"source"`
}

// Payload encodes the change, or says what is wrong with it.
func Payload(c Change) (json.RawMessage, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("event of %q: %w", c.ExternalID, err)
	}
	data, err := json.Marshal(payload{
		EntityID: c.EntityID, ExternalID: c.ExternalID, Provider: c.Provider,
		ChangedFields: c.ChangedFields, Resurrected: c.Resurrected, Source: Source,
	})
	if err != nil {
		return nil, fmt.Errorf("event of %q: %w", c.ExternalID, err)
	}
	return data, nil
}

func (c Change) check() error {
	switch {
	case c.Verb != Created && c.Verb != Edited && c.Verb != Deleted:
		return fmt.Errorf("unknown verb %q", c.Verb)
	case c.EntityID == uuid.Nil || c.ExternalID == "" || c.Provider == "":
		return errors.New("entityId, externalId and provider are all needed")
	case (c.ChangedFields == nil) != (c.Verb == Deleted):
		return errors.New("changedFields belongs to created and edited, and to them always")
	case c.Resurrected && c.Verb != Created:
		return errors.New("only a created row can be resurrected")
	}
	return nil
}
