package condition_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/syncline-dev/syncline/internal/controller/condition"
)

func TestOnlyWhatHappenedIsAnnounced(t *testing.T) {
	var a condition.Announcements
	a.Add(false, corev1.EventTypeWarning, "RunFailed", "Run", "no")
	a.Add(true, corev1.EventTypeNormal, "RunsRecovered", "Run", "100%")
	recorder := events.NewFakeRecorder(2)
	a.Record(recorder, &corev1.Secret{})
	if len(recorder.Events) != 1 {
		t.Fatalf("%d Events, want one", len(recorder.Events))
	}
	if got := <-recorder.Events; got != "Normal RunsRecovered 100%" {
		t.Errorf("the Event is %q", got)
	}
}

// The API server takes no note of more than 1024 bytes, and a message may quote a provider or the API server itself.
func TestLongNotesAreCutBetweenCharacters(t *testing.T) {
	var a condition.Announcements
	a.Add(true, corev1.EventTypeWarning, "InvalidTemplate", "Reconcile", "x"+strings.Repeat("ä", 1000))
	recorder := events.NewFakeRecorder(1)
	a.Record(recorder, &corev1.Secret{})
	got := strings.TrimPrefix(<-recorder.Events, "Warning InvalidTemplate ")
	if len(got) != 1023 || !strings.HasSuffix(got, "ä") {
		t.Errorf("the note has %d bytes and ends with %q, want it cut to 1023 at a whole character", len(got), got[len(got)-2:])
	}
}
