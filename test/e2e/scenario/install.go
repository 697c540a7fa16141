package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// Image is the product's image on the node, made by hack/images/build.sh.
const (
	imageRepository = "localhost/syncline"
	imageTag        = "dev"
)

func (s *Story) startProvider(ctx context.Context) error {
	s.console.Say("PocketBase is somebody else's program, unmodified: an HTTP API over records, with pages and a time of last update.")
	var err error
	if s.source, err = lab.StartPocketBase(ctx, s.env); err != nil {
		return err
	}
	if err := s.source.CreateCollection(ctx, ticketsCollection()); err != nil {
		return err
	}
	err = s.console.During("write 5 000 tickets through its batch API", func() (err error) {
		s.records, err = s.source.Apply(ctx, collection, seed())
		return err
	})
	if err != nil {
		return err
	}
	s.ledger.wrote(Created, s.records...)
	first := s.records[0]
	s.console.Say("one of them: id %s, title %q, state %s, amount %v, updated %s",
		first.ID(), first.Text("title"), first.Text("state"), first["amount"], first.Text("updated"))
	return nil
}

func (s *Story) startDatabase(ctx context.Context) error {
	if err := s.console.During("start PostgreSQL", func() error { return lab.StartPostgres(ctx, s.env) }); err != nil {
		return err
	}
	var err error
	if s.db, err = pgx.Connect(ctx, lab.DatabaseURI()); err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	return s.query(ctx, `SELECT current_user, usesuper AS superuser, split_part(version(), ' on ', 1) AS server FROM pg_user WHERE usename = current_user`)
}

func (s *Story) install(ctx context.Context) error {
	args := []string{
		"install", "syncline", "charts/syncline", "--namespace", system, "--create-namespace", "--wait", "--timeout", "2m",
		"--set", "image.repository=" + imageRepository, "--set", "image.tag=" + imageTag, "--set", "image.pullPolicy=Never",
	}
	s.console.Say("$ %s", display("helm", args))
	err := s.console.During("wait for the operator", func() error {
		_, err := s.env.Run(ctx, "helm", args...)
		return err
	})
	if err != nil {
		return err
	}
	return s.kubectl(ctx, "get", "deployments,pods", "--namespace", system)
}

// declare applies the samples as they are, but for the values of the two Secrets, which stand for this demo's servers.
func (s *Story) declare(ctx context.Context) error {
	if err := s.nameServers(ctx); err != nil {
		return err
	}
	overlay, err := s.overlay()
	if err != nil {
		return err
	}
	s.console.Say("config/samples, with the two Secrets filled in: one database URI, one API token")
	if err := s.kubectl(ctx, "apply", "--namespace", namespace, "-k", overlay); err != nil {
		return err
	}
	err = s.console.During("wait until all three are Ready", func() error { return s.awaitReady(ctx) })
	if err != nil {
		return err
	}
	return s.kubectl(ctx, "get", "jobpools,integrationconnections,integrationsubscriptions,pods", "--namespace", namespace)
}

// awaitReady waits for the conditions that a user would wait for, and for the pool's pods.
func (s *Story) awaitReady(ctx context.Context) error {
	for _, object := range []string{"jobpool/" + pool, "integrationconnection/" + connection, "integrationsubscription/" + subscription} {
		_, err := s.env.Run(ctx, "kubectl", "wait", "--namespace", namespace, "--for=condition=Ready", "--timeout=90s", object)
		if err != nil {
			return err
		}
	}
	return lab.Await(ctx, "the subscription's id", 200*time.Millisecond, func() (bool, error) {
		sub, err := s.readSubscription(ctx)
		s.subscriptionID = sub.Status.SubscriptionID
		return s.subscriptionID != "", err
	})
}

// servers gives a server of the node the name by which the samples call it: a Service without a selector and its
// endpoint.
const servers = `apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Service
metadata: {name: %[2]s, namespace: %[1]s}
spec: {ports: [{name: main, port: %[3]d, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[2]s, namespace: %[1]s, labels: {kubernetes.io/service-name: %[2]s}}
addressType: IPv4
ports: [{name: main, port: %[3]d, protocol: TCP}]
endpoints: [{addresses: [%[4]s]}]
---
`

func (s *Story) nameServers(ctx context.Context) error {
	text := fmt.Sprintf(servers, namespace, "pocketbase", lab.PocketBasePort, lab.Address) +
		fmt.Sprintf(servers, databaseSpace, "postgres", lab.PostgresPort, lab.Address)
	_, err := s.env.RunInput(ctx, text, "kubectl", "apply", "-f", "-")
	return err
}

// overlayText replaces the samples' placeholder Secrets. Kustomize takes folders by relative paths only.
const overlayText = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
patches:
- patch: |-
    {apiVersion: v1, kind: Secret, metadata: {name: helpdesk-database}, stringData: {uri: "%s"}}
- patch: |-
    {apiVersion: v1, kind: Secret, metadata: {name: helpdesk-api}, stringData: {token: "%s"}}
`

func (s *Story) overlayDir() string { return filepath.Join(s.env.State, "samples") }

func (s *Story) overlay() (string, error) {
	dir := s.overlayDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the samples' overlay: %w", err)
	}
	base, err := filepath.Rel(dir, filepath.Join(s.env.Root, "config", "samples"))
	if err != nil {
		return "", fmt.Errorf("make the samples' overlay: %w", err)
	}
	// The samples name the database's Service, not the node.
	uri := strings.Replace(lab.DatabaseURI(), lab.Address, "postgres."+databaseSpace+".svc", 1)
	text := fmt.Sprintf(overlayText, base, uri, s.source.Token)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("make the samples' overlay: %w", err)
	}
	return dir, nil
}
