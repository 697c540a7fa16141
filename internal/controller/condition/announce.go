package condition

import (
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
)

// Announcement is an Event to be written.
type Announcement struct {
	// Type is Normal or Warning.
	Type                 string
	Reason, Action, Note string
}

// Announcements are the Events of one reconcile: what became otherwise, never what stays.
type Announcements []Announcement

// Add announces something when it happened.
func (a *Announcements) Add(when bool, eventType, reason, action, note string) {
	if when {
		*a = append(*a, Announcement{eventType, reason, action, note})
	}
}

// maxNote is what the API server accepts for an Event's note, in bytes; a longer one is lost whole.
const maxNote = 1024

// Record writes the Events.
func (a Announcements) Record(recorder events.EventRecorder, about runtime.Object) {
	for _, e := range a {
		recorder.Eventf(about, nil, e.Type, e.Reason, e.Action, "%s", Cut(e.Note, maxNote))
	}
}

// Cut shortens a text to a number of bytes without splitting a character.
func Cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
