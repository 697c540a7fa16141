package manager_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/integration"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schedule"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/internal/runtime/worker/process"
)

// crm is an API with one contact a day, ordered by time, whose answers behind the first page wait for a gate.
type crm struct {
	*httptest.Server
	contacts int

	mu    sync.Mutex
	asked int
	gates []chan struct{}
}

func newCRM(contacts, gates int) *crm {
	GinkgoHelper()
	c := &crm{contacts: contacts}
	for range gates {
		c.gates = append(c.gates, make(chan struct{}))
	}
	c.Server = httptest.NewServer(c)
	DeferCleanup(c.Close)
	return c
}

// contactAt is when a contact changed, from 1.
func contactAt(n int) string { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC).Format(time.RFC3339) }

func (c *crm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	since := r.URL.Query().Get("since")
	if since != "" && !c.wait(r.Context()) {
		return
	}
	var list []map[string]any
	for n := 1; n <= c.contacts; n++ {
		if at := contactAt(n); at >= since {
			list = append(list, map[string]any{"id": n, "name": "contact " + strconv.Itoa(n), "employees": n, "updated": at})
		}
	}
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from, to := min(2*(page-1), len(list)), min(2*page, len(list))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"items": list[from:to]})
}

// wait lets a request through when its gate is open: the first has the first, all later ones the last.
func (c *crm) wait(ctx context.Context) bool {
	c.mu.Lock()
	gate := c.gates[min(c.asked, len(c.gates)-1)]
	c.asked++
	c.mu.Unlock()
	select {
	case <-gate:
		return true
	case <-ctx.Done():
		return false
	}
}

// runWorker runs the worker of pods in this process, until the spec ends.
func (w *world) runWorker() {
	GinkgoHelper()
	log := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		defer GinkgoRecover()
		Expect(process.Run(ctx, process.Options{
			Pool: "batch", Schema: "syncline", URI: func() (string, error) { return w.db.URI, nil }, MaxConns: 4,
			DrainTimeout: time.Second, HTTPAddress: "127.0.0.1:0", Log: log,
			Wire: func(db *pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
				handler := integration.NewHandler(integration.Config{DB: db, Log: log})
				tick := worker.Task{Name: "start due runs", Every: time.Second, Timeout: recovery, Run: func(ctx context.Context) error {
					_, err := schedule.Tick(ctx, db, "batch")
					return err
				}}
				return map[string]worker.Registration{jobs.SyncType: {Handler: handler, Config: integration.TypeConfig()}}, []worker.Task{tick}, nil
			},
		})).To(Succeed())
	})
	DeferCleanup(func() { stop(); wait.Wait() })
}

// synced is everything for a subscription that reads the API in order, and asks for a run.
func (w *world) synced(api *crm) []client.Object {
	pool, connection, sub := w.pool(), w.connection(), w.subscription()
	pool.Spec.Lease.StaleThresholdSeconds, pool.Spec.Lease.SweepPeriodSeconds = 10, 5
	connection.Spec.HTTP = &v1alpha1.HTTPConnection{BaseURL: api.URL, Egress: &v1alpha1.Egress{AllowedCIDRs: []string{"127.0.0.0/8"}}}
	http := sub.Spec.Source.HTTP
	http.Request.Query = []v1alpha1.QueryParameter{{Name: "page", Value: new("{page}")}, {Name: "since", Value: new("{cursor}")}}
	http.Pagination = &v1alpha1.Pagination{Page: &v1alpha1.PagePagination{Size: 2}}
	http.Cursor = &v1alpha1.Cursor{Timestamp: &v1alpha1.TimestampCursor{From: "updated"}}
	http.Order = v1alpha1.RecordOrderAscending
	sub.Annotations = map[string]string{v1alpha1.RunRequestedAnnotation: "now-1"}
	return []client.Object{w.databaseSecret(), pool, connection, sub}
}

func (w *world) storedCursor(ctx context.Context) (string, error) {
	var at string
	err := w.db.Pool.QueryRow(ctx, "SELECT coalesce(cursor->>'value', '') FROM syncline.subscription WHERE id = $1", w.subscriptionID()).Scan(&at)
	return at, err
}

var _ = Describe("An unreachable database", func() {
	It("is told by the conditions of a running sync, holds its cursor, and the sync goes on when it answers", func(ctx context.Context) {
		own, err := pgtest.New(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() error { return own.Close() })
		w, upstream := newWorldOn(ctx, own), newCRM(6, 2)
		create(ctx, w.synced(upstream)...)
		w.runWorker()
		cursor := func() (string, error) { return w.storedCursor(ctx) }
		Eventually(cursor).WithTimeout(3*recovery).Should(Equal(contactAt(2)), "the first page is applied, the second is on its way")

		Expect(own.Stop()).To(Succeed())
		pool, sub := w.pool(), w.subscription()
		eventually(ctx, pool, v1alpha1.ConditionDatabaseReachable, metav1.ConditionFalse, v1alpha1.ReasonDatabaseUnreachable)
		eventuallyEvent(ctx, pool, v1alpha1.EventDatabaseUnreachable)
		message := eventually(ctx, sub, v1alpha1.ConditionPoolReady, metav1.ConditionFalse, v1alpha1.ReasonPoolNotReady)
		Expect(message).To(And(ContainSubstring(`JobPool "batch"`), ContainSubstring("cannot be reached")))
		close(upstream.gates[0]) // the page meets a database that is away

		Expect(own.Start(ctx)).To(Succeed())
		w.db.Pool.Reset()
		eventually(ctx, sub, v1alpha1.ConditionPoolReady, metav1.ConditionTrue, v1alpha1.ReasonPoolReady)
		eventuallyEvent(ctx, pool, v1alpha1.EventDatabaseRecovered)
		Eventually(w.count).WithArguments(ctx, "SELECT count(*) FROM syncline.sync_run WHERE outcome = 'running' AND attempt > 1").
			WithTimeout(3*recovery).Should(Equal(1), "the run is not taken up again")
		// A try that was given a connection which had died in the outage says so and is over; none but the first has applied a page.
		Expect(w.count(ctx, `SELECT count(*) FROM syncline.sync_run WHERE outcome <> 'running' AND attempt = 1 AND outcome <> 'abandoned'
			OR outcome <> 'running' AND attempt > 1 AND (outcome, error_code) IS DISTINCT FROM ('failed', 'Database')`)).To(BeZero())
		Expect(w.count(ctx, "SELECT sum(chunks)::int FROM syncline.sync_run")).To(Equal(1))
		Expect(cursor()).To(Equal(contactAt(2)), "the cursor has passed what was not applied")
		Expect(w.count(ctx, "SELECT count(*) FROM contacts")).To(Equal(2))

		close(upstream.gates[1])
		Eventually(cursor).WithTimeout(3 * recovery).Should(Equal(contactAt(6)))
		eventually(ctx, sub, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(w.count(ctx, "SELECT count(*) FROM contacts WHERE version = 1")).To(Equal(6))
		Expect(w.count(ctx, "SELECT count(*) FROM syncline.sync_item WHERE operation = 'created'")).To(Equal(6), "something was applied twice")
	})
})
