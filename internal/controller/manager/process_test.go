package manager_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/syncline-dev/syncline/internal/controller/manager"
	"github.com/syncline-dev/syncline/internal/kubetest"
	"github.com/syncline-dev/syncline/internal/loopback"
)

// readRole reads a role of the manifests.
func readRole(file string, into any) {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join(kubetest.Root(), "config", "rbac", file))
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.Unmarshal(text, into)).To(Succeed())
}

// bindRole gives a subject a cluster role until the spec ends, and waits until the API server goes by it.
func bindRole(ctx context.Context, role *rbacv1.ClusterRole, subject rbacv1.Subject) {
	GinkgoHelper()
	Expect(client.IgnoreAlreadyExists(api.Create(ctx, role))).To(Succeed())
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: role.Name + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{subject},
	}
	Expect(api.Create(ctx, binding)).To(Succeed())
	DeferCleanup(func(ctx context.Context) { Expect(api.Delete(ctx, binding)).To(Succeed()) })
	Eventually(func(g Gomega) {
		review := reviewOf(&role.Rules[0], subject)
		g.Expect(api.Create(ctx, review)).To(Succeed())
		g.Expect(review.Status.Allowed).To(BeTrue(), "%s %s: %+v", subject.Kind, subject.Name, review)
	}).Should(Succeed())
}

// reviewOf asks whether a subject may do what comes first in a rule.
func reviewOf(rule *rbacv1.PolicyRule, subject rbacv1.Subject) *authorizationv1.SubjectAccessReview {
	user := subject.Name
	if subject.Kind == rbacv1.ServiceAccountKind {
		user = "system:serviceaccount:" + subject.Namespace + ":" + subject.Name
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user}}
	if len(rule.NonResourceURLs) > 0 {
		review.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: rule.NonResourceURLs[0], Verb: rule.Verbs[0]}
	} else {
		review.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Group: rule.APIGroups[0], Resource: rule.Resources[0], Verb: rule.Verbs[0]}
	}
	return review
}

var operatorUser = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operator}

// ownAddress is a loopback address that only what is told of it listens on, until the spec ends.
func ownAddress() string {
	GinkgoHelper()
	port, err := loopback.Reserve()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(port.Release)
	return port.Address()
}

var _ = Describe("The process", func() {
	It("hands the lead over at once when it ends", func(ctx context.Context) {
		ns := newNamespace(ctx)
		var role rbacv1.Role
		readRole("leader_election_role.yaml", &role)
		role.Namespace = ns
		Expect(api.Create(ctx, &role)).To(Succeed())
		Expect(api.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: role.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
			Subjects:   []rbacv1.Subject{operatorUser},
		})).To(Succeed())
		// Both watch a namespace in which nothing happens.
		o := manager.Options{LeaderElection: true, LeaderElectionNamespace: ns, Namespaces: []string{ns}}
		holder := func() string {
			var lease coordinationv1.Lease
			if api.Get(ctx, client.ObjectKey{Namespace: ns, Name: manager.LeaderElectionID}, &lease) != nil || lease.Spec.HolderIdentity == nil {
				return ""
			}
			return *lease.Spec.HolderIdentity
		}
		stop := startManager(o)
		Eventually(holder).ShouldNot(BeEmpty())
		first := holder()
		startManager(o)
		stop()
		Expect(holder()).NotTo(Equal(first), "the lease was not released: the next leader waits until it runs out")
		Eventually(holder).Should(And(Not(BeEmpty()), Not(Equal(first))))
	})

	It("serves metrics to whom the API server allows it, and to nobody else", func(ctx context.Context) {
		ns := newNamespace(ctx)
		var auth, reader rbacv1.ClusterRole
		readRole("metrics_auth_role.yaml", &auth)
		readRole("metrics_reader_role.yaml", &reader)
		bindRole(ctx, &auth, operatorUser)
		bindRole(ctx, &reader, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "prometheus"})
		address := ownAddress()
		startManager(manager.Options{Namespaces: []string{ns}, MetricsAddress: address})

		scrape := func(token string) (int, string) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", http.NoBody)
			Expect(err).NotTo(HaveOccurred())
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			insecure := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its certificate is its own
			defer insecure.CloseIdleConnections()
			answer, err := insecure.RoundTrip(req)
			if err != nil {
				return 0, err.Error()
			}
			defer func() { _ = answer.Body.Close() }()
			body, err := io.ReadAll(answer.Body)
			Expect(err).NotTo(HaveOccurred())
			return answer.StatusCode, string(body)
		}
		status := func(token string) int { code, _ := scrape(token); return code }
		Eventually(status).WithArguments("").Should(Equal(http.StatusUnauthorized))
		Expect(status(tokenFor(ctx, ns, "stranger"))).To(Equal(http.StatusForbidden))
		code, text := scrape(tokenFor(ctx, ns, "prometheus"))
		Expect(code).To(Equal(http.StatusOK))
		Expect(text).To(ContainSubstring("controller_runtime_reconcile_total"))
	})

	It("is ready when its caches are filled", func(ctx context.Context) {
		address := ownAddress()
		startManager(manager.Options{Namespaces: []string{newNamespace(ctx)}, HealthAddress: address})
		for _, path := range []string{"/healthz", "/readyz"} {
			Eventually(func() int {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
				Expect(err).NotTo(HaveOccurred())
				answer, err := http.DefaultClient.Do(req)
				if err != nil {
					return 0
				}
				defer func() { _ = answer.Body.Close() }()
				return answer.StatusCode
			}).Should(Equal(http.StatusOK), path)
		}
	})
})

// tokenFor makes a ServiceAccount and a token of it.
func tokenFor(ctx context.Context, ns, name string) string {
	GinkgoHelper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	Expect(api.Create(ctx, account)).To(Succeed())
	request := &authenticationv1.TokenRequest{}
	Expect(api.SubResource("token").Create(ctx, account, request)).To(Succeed())
	return request.Status.Token
}
