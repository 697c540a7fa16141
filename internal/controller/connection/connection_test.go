package connection

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestTranslateLeavesNothingOut(t *testing.T) {
	s := &v1alpha1.IntegrationConnectionSpec{
		Provider: "crm",
		HTTP: &v1alpha1.HTTPConnection{
			BaseURL:               "https://crm.example.com/api",
			Auth:                  &v1alpha1.HTTPAuth{Basic: &v1alpha1.BasicAuth{}},
			RateLimit:             &v1alpha1.RateLimit{RequestsPerSecond: resource.MustParse("0.5"), Burst: 3},
			RequestTimeoutSeconds: 30,
			Egress:                &v1alpha1.Egress{AllowedCIDRs: []string{"10.0.0.0/8"}},
		},
	}
	want := spec.Connection{Version: 1, Provider: "crm", HTTP: &spec.HTTP{
		BaseURL: "https://crm.example.com/api", Auth: spec.AuthBasic, MilliRequestsPerSecond: 500, Burst: 3,
		TimeoutMillis: 30_000, AllowedCIDRs: []string{"10.0.0.0/8"},
	}}
	if diff := cmp.Diff(want, Translate(s)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	for auth, want := range map[*v1alpha1.HTTPAuth]spec.AuthKind{nil: spec.AuthNone, {Bearer: &v1alpha1.BearerAuth{}}: spec.AuthBearer} {
		if got := authKind(auth); got != want {
			t.Errorf("authentication %+v is %q, want %q", auth, got, want)
		}
	}
}

func TestPublished(t *testing.T) {
	ready := database.View{Known: true, Reachable: true, SchemaCurrent: true}
	applied := database.ConnectionView{Database: ready, Row: &schema.Written{Outcome: schema.OutcomeApplied}}
	away := database.ConnectionView{Database: database.View{Known: true, Message: "refused"}}
	sealed, missing := condition.Pass(v1alpha1.ReasonSealed, ""), condition.Wait(v1alpha1.ReasonSecretMissing, "")
	type views map[database.Key]database.ConnectionView
	cases := map[string]struct {
		credentials condition.Verdict
		views       views
		want        string // status and reason, empty when nothing can be said yet
	}{
		"nobody uses it":              {sealed, nil, "True NotUsed"},
		"everywhere":                  {sealed, views{"a": applied, "b": applied}, "True Published"},
		"one database away":           {sealed, views{"a": applied, "b": away}, "False DatabaseUnreachable"},
		"one database unknown":        {sealed, views{"a": applied, "b": {}}, ""},
		"being written":               {sealed, views{"a": {Database: ready}}, ""},
		"somebody else's":             {sealed, views{"a": {Database: ready, Row: &schema.Written{Outcome: schema.OutcomeTaken}}}, "False NameTaken"},
		"written by a newer one":      {sealed, views{"a": {Database: ready, Row: &schema.Written{Outcome: schema.OutcomeStale}}}, "False NewerGeneration"},
		"no credential, never stood":  {missing, views{"a": {Database: ready}}, "False Waiting"},
		"no credential, stood before": {missing, views{"a": {Database: ready, State: &schema.ConnectionState{Owner: schema.Owner{UID: "u"}}}}, "True Published"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := &scope{connection: &v1alpha1.IntegrationConnection{}, credentials: c.credentials, views: c.views, subscriptions: len(c.views)}
			s.connection.UID = "u"
			for _, key := range []database.Key{"a", "b"} {
				if _, ok := c.views[key]; ok {
					s.keys = append(s.keys, key)
				}
			}
			got := ""
			if v, ok := s.published(); ok {
				got = string(v.Status) + " " + v.Reason
			}
			if got != c.want {
				t.Errorf("published is %q, want %q", got, c.want)
			}
		})
	}
}

func TestLostKeyStallsUntilItIsBack(t *testing.T) {
	s := &scope{
		connection: &v1alpha1.IntegrationConnection{}, subscriptions: 1,
		credentials: condition.Stall(v1alpha1.ReasonSealingKeyLost, "restore it"),
	}
	list := s.conditions(time.Now())
	if c := condition.Find(list, v1alpha1.ConditionStalled); c.Status != "True" || c.Reason != v1alpha1.ReasonSealingKeyLost {
		t.Errorf("Stalled is %+v", c)
	}
	if s.recheck() == 0 {
		t.Error("nobody looks for the key again")
	}
}
