package jobpool

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/syncline-dev/syncline/api/v1alpha1"
)

const signingSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// read resolves the secrets of handlers named a, b... each of a Secret and key, against Secrets that exist.
func readFrom(t *testing.T, refs []v1alpha1.SigningSecretRef, secrets ...client.Object) (s *scope, list map[string][]string, version string) {
	t.Helper()
	s = makeScope()
	s.name = client.ObjectKeyFromObject(s.pool)
	for i, ref := range refs {
		s.pool.Spec.Handlers = append(s.pool.Spec.Handlers, v1alpha1.JobHandler{Type: string(rune('a' + i)), SigningSecretRef: ref})
	}
	s.tuning = Tuning(&s.pool.Spec)
	r := &Reconciler{API: fake.NewClientBuilder().WithObjects(secrets...).Build()}
	list, version, err := r.readSecrets(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return s, list, version
}

func signingOf(name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: makePool().Namespace, Name: name}, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

// One handler that lacks its secret must not stop the others, and the condition names what it lacks.
func TestHandlerWithoutItsSecretIsLeftOut(t *testing.T) {
	good := signingOf("good", map[string]string{
		"k": signingSecret + "\n", "two": signingSecret + "\n" + signingSecret,
		"short": "whsec_c2hvcnQ=", "five": strings.Repeat(signingSecret+" ", 5),
	})
	ref := func(name, key string) v1alpha1.SigningSecretRef {
		return v1alpha1.SigningSecretRef{Name: name, Key: key}
	}
	for name, test := range map[string]struct {
		second v1alpha1.SigningSecretRef
		reason string
		says   []string
		served int
	}{
		"all there":       {ref("good", "two"), v1alpha1.ReasonHandlersSealed, nil, 2},
		"missing secret":  {ref("absent", "k"), v1alpha1.ReasonSecretMissing, []string{`type "b"`, `"absent"`, "create it"}, 1},
		"missing key":     {ref("good", "other"), v1alpha1.ReasonSecretKeyMissing, []string{`type "b"`, `"other"`, `"good"`}, 1},
		"unusable value":  {ref("good", "short"), v1alpha1.ReasonInvalidSecret, []string{`type "b"`, "24 to 64 bytes", "openssl rand"}, 1},
		"too many values": {ref("good", "five"), v1alpha1.ReasonInvalidSecret, []string{"holds 5 secrets, want 1 to 4"}, 1},
	} {
		s, list, _ := readFrom(t, []v1alpha1.SigningSecretRef{ref("good", "k"), test.second}, good)
		if s.handlers.Reason != test.reason || len(list) != test.served || len(s.tuning.Handlers) != test.served || s.tuning.Handlers[0].Type != "a" {
			t.Errorf("%s: %s with %d secrets and %d handlers served, want %s and %d",
				name, s.handlers.Reason, len(list), len(s.tuning.Handlers), test.reason, test.served)
		}
		for _, part := range test.says {
			if !strings.Contains(s.handlers.Message, part) {
				t.Errorf("%s: the message is %q, want it to say %q", name, s.handlers.Message, part)
			}
		}
		if strings.Contains(s.handlers.Message, "c2hvcnQ") || strings.Contains(s.handlers.Message, signingSecret) {
			t.Errorf("%s: the message quotes a secret: %q", name, s.handlers.Message)
		}
	}
}

// The row keeps its secrets while their version stays: everything that changes them must change it.
func TestVersionOfSecretsFollowsWhatTheyAreMadeOf(t *testing.T) {
	good := signingOf("good", map[string]string{"k": signingSecret, "l": signingSecret})
	ref := func(key string) []v1alpha1.SigningSecretRef {
		return []v1alpha1.SigningSecretRef{{Name: "good", Key: key}}
	}
	_, _, before := readFrom(t, ref("k"), good)
	if _, _, again := readFrom(t, ref("k"), good); again != before {
		t.Error("the same secrets have another version")
	}
	if _, _, other := readFrom(t, ref("l"), good); other == before {
		t.Error("another key has the same version")
	}
	if _, _, other := readFrom(t, append(ref("k"), ref("k")...), good); other == before {
		t.Error("another handler has the same version")
	}
	changed := good.DeepCopy()
	changed.ResourceVersion = "12345"
	if _, _, other := readFrom(t, ref("k"), changed); other == before {
		t.Error("another value has the same version")
	}
}

func TestPoolIsFoundByEverySecretItNames(t *testing.T) {
	pool := makePool()
	pool.Spec.Handlers = []v1alpha1.JobHandler{
		{SigningSecretRef: v1alpha1.SigningSecretRef{Name: "z"}}, {SigningSecretRef: v1alpha1.SigningSecretRef{Name: "z"}},
	}
	if got := secretNames(&pool.Spec); len(got) != 2 || !strings.Contains(strings.Join(got, " "), pool.Spec.Database.SecretRef.Name) {
		t.Errorf("the pool is found by %v, want its database's and its handlers' secret", got)
	}
}
