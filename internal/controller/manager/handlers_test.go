package manager_test

import (
	"context"
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

const (
	signingFirst  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	signingSecond = "whsec_d2VsbCBrZXB0IGFuZCBuZXZlciB0b2xkIHRvIGFueWJvZHk="
)

// handlerPool declares one handler.
func (w *world) handlerPool() *v1alpha1.JobPool {
	pool := w.pool()
	pool.Spec.Handlers = []v1alpha1.JobHandler{{
		Type: "invoice", URL: "http://invoices.shop.svc/runs", SigningSecretRef: v1alpha1.SigningSecretRef{Name: "invoices"},
	}}
	return pool
}

// signing is what stands sealed in the pool's row, as a worker opens it; nil when nothing does.
func (w *world) signing(ctx context.Context) spec.SigningSecrets {
	GinkgoHelper()
	var sealed []byte
	Expect(w.db.Pool.QueryRow(ctx, "SELECT secrets FROM syncline.pool WHERE name = 'batch'").Scan(&sealed)).To(Succeed())
	if sealed == nil {
		return nil
	}
	secret := w.secret("syncline-sealing", "", "")
	Expect(api.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	keyset, err := sealing.Parse(secret.Data["keyset.json"])
	Expect(err).NotTo(HaveOccurred())
	plain, err := keyset.Open(sealed, spec.PoolID("batch"), spec.SecretsColumn)
	Expect(err).NotTo(HaveOccurred())
	var secrets spec.SigningSecrets
	Expect(json.Unmarshal(plain, &secrets)).To(Succeed())
	return secrets
}

// served counts the handlers in the pool's tuning.
const served = "SELECT jsonb_array_length(coalesce(tuning->'handlers', '[]')) FROM syncline.pool WHERE name = 'batch'"

var _ = Describe("A JobPool with handlers", func() {
	It("names the signing secret that is missing, serves the handler when it comes, and seals a rotated one anew", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.databaseSecret(), w.handlerPool())
		message := eventually(ctx, w.pool(), v1alpha1.ConditionHandlersReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)
		Expect(message).To(And(ContainSubstring(`type "invoice"`), ContainSubstring(`"invoices"`)))
		w.eventuallyCount(ctx, 0, served)

		secret := w.secret("invoices", "other", signingFirst)
		create(ctx, secret)
		message = eventually(ctx, w.pool(), v1alpha1.ConditionHandlersReady, metav1.ConditionFalse, v1alpha1.ReasonSecretKeyMissing)
		Expect(message).To(ContainSubstring(`"signing-secret"`))

		secret.StringData = map[string]string{"signing-secret": "not one"}
		Expect(api.Update(ctx, secret)).To(Succeed())
		message = eventually(ctx, w.pool(), v1alpha1.ConditionHandlersReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSecret)
		Expect(message).NotTo(ContainSubstring("not one"))

		secret.StringData = map[string]string{"signing-secret": signingFirst}
		Expect(api.Update(ctx, secret)).To(Succeed())
		eventually(ctx, w.pool(), v1alpha1.ConditionHandlersReady, metav1.ConditionTrue, v1alpha1.ReasonHandlersSealed)
		eventually(ctx, w.pool(), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		w.eventuallyCount(ctx, 1, served)
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.job_type WHERE name = 'invoice' AND pool = 'batch'")
		Expect(w.signing(ctx)).To(Equal(spec.SigningSecrets{"invoice": {signingFirst}}))

		before := w.count(ctx, "SELECT tuning_generation FROM syncline.pool WHERE name = 'batch'")
		secret.StringData = map[string]string{"signing-secret": signingFirst + "\n" + signingSecond + "\n"}
		Expect(api.Update(ctx, secret)).To(Succeed())
		Eventually(func() spec.SigningSecrets { return w.signing(ctx) }).
			Should(Equal(spec.SigningSecrets{"invoice": {signingFirst, signingSecond}}))
		Expect(w.count(ctx, "SELECT tuning_generation FROM syncline.pool WHERE name = 'batch'")).
			To(Equal(before+1), "a rotated secret reaches workers as a change of the tuning")
	})

	It("keeps what is sealed while the sealing key is lost, and takes secrets back with the last handler", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.databaseSecret(), w.secret("invoices", "signing-secret", signingFirst), w.handlerPool())
		eventually(ctx, w.pool(), v1alpha1.ConditionHandlersReady, metav1.ConditionTrue, v1alpha1.ReasonHandlersSealed)
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.pool WHERE secrets IS NOT NULL")

		key := w.secret("syncline-sealing", "", "")
		Expect(api.Get(ctx, client.ObjectKeyFromObject(key), key)).To(Succeed())
		Expect(api.Delete(ctx, key)).To(Succeed())
		eventually(ctx, w.pool(), v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSealingKeyLost)
		w.eventuallyCount(ctx, 1, served)
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.pool WHERE secrets IS NOT NULL")
		back := w.secret("syncline-sealing", "", "")
		back.StringData, back.Data = nil, key.Data
		create(ctx, back)
		eventually(ctx, w.pool(), v1alpha1.ConditionHandlersReady, metav1.ConditionTrue, v1alpha1.ReasonHandlersSealed)
		Expect(w.signing(ctx)).To(Equal(spec.SigningSecrets{"invoice": {signingFirst}}))

		Expect(api.Patch(ctx, w.pool(), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"handlers":null}}`)))).To(Succeed())
		eventually(ctx, w.pool(), v1alpha1.ConditionHandlersReady, metav1.ConditionTrue, v1alpha1.ReasonNoHandlers)
		w.eventuallyCount(ctx, 0, "SELECT count(*) FROM syncline.pool WHERE secrets IS NOT NULL")
	})
})
