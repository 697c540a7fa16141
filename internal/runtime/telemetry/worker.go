package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcome is what became of one claimed run, as a metric label.
type Outcome string

// The outcomes of a claimed run.
const (
	// Completed runs ended well, by their worker or by their handler's own transaction.
	Completed Outcome = "completed"
	// Failed attempts are settled as failed; the run is retried or ended.
	Failed Outcome = "failed"
	// Snoozed runs asked to be called again later.
	Snoozed Outcome = "snoozed"
	// Parked runs wait for a signal, for children or for a time without a slot.
	Parked Outcome = "parked"
	// Cancelled runs stopped at a request.
	Cancelled Outcome = "cancelled"
	// TimedOut attempts passed their deadline.
	TimedOut Outcome = "timedOut"
	// GivenBack runs were returned without spending an attempt: drain, a lost contact, a key that is not there yet.
	GivenBack Outcome = "givenBack"
	// Lost runs had been taken over: their result was dropped.
	Lost Outcome = "lost"
)

// Worker are the metrics of one worker process. Every one carries the label pool.
type Worker struct {
	// Claims counts claim statements by result: full (as many runs as asked for), partial, empty, limited (a limit of the
	// pool cut it), error.
	Claims *prometheus.CounterVec
	// Claimed counts runs that came back from claims and were handed to a handler.
	Claimed prometheus.Counter
	// Settled counts runs that left this worker, by outcome and job type.
	Settled *prometheus.CounterVec
	// HandlerSeconds is the time a handler ran, by job type.
	HandlerSeconds *prometheus.HistogramVec
	// SettleBatch is the number of results written at once.
	SettleBatch prometheus.Histogram
	// Running is the number of handlers that have not stopped.
	Running prometheus.Gauge
	// Unsettled is the number of runs whose result the database has not confirmed.
	Unsettled prometheus.Gauge
	// Beats counts heartbeats by result: confirmed, gone (the row was not there), error.
	Beats *prometheus.CounterVec
	// LeaseRemaining is the time in seconds until this worker stops by itself unless a beat is confirmed; negative after it.
	LeaseRemaining prometheus.Gauge
	// SelfFences counts how often this worker cancelled its handlers because it could not renew its lease.
	SelfFences prometheus.Counter
	// Incarnations counts registrations: more than one means that others took over meanwhile.
	Incarnations prometheus.Counter
	// Reconciles counts comparisons of receipts with what the worker holds.
	Reconciles prometheus.Counter
	// LeasesRecovered counts runs of dead workers that this worker's sweeps put back.
	LeasesRecovered prometheus.Counter
	// Wakeups counts notifications that woke the claim loop.
	Wakeups prometheus.Counter
	// ListenerConnects counts successful LISTENs; more than one means that the connection was lost meanwhile.
	ListenerConnects prometheus.Counter
	// TuningGeneration is the generation of the pool's tuning that is in force.
	TuningGeneration prometheus.Gauge
	// Draining is 1 while the worker drains.
	Draining prometheus.Gauge
	// Retired counts runs that this worker removed because they had outlived their pool's retention.
	Retired prometheus.Counter
	// Unserved is the number of due runs of the pool whose job type no live worker serves, by job type, up to 10 000 each;
	// types without any are left out.
	Unserved *prometheus.GaugeVec
	// TaskFailures counts failed calls of periodic tasks, by task.
	TaskFailures *prometheus.CounterVec
	// Endpoints are those of the job types that the pool declares with a URL.
	Endpoints *Endpoints
}

// Endpoints are the metrics of requests to users' endpoints and of what these ask for meanwhile. Types are those that the
// pool declares; no URL, run, token or word of an answer is in any label.
type Endpoints struct {
	// Requests counts requests that have ended, by job type and result: the class of the answer's status (2xx, 3xx, 4xx, 5xx),
	// or timeout, unreachable, refused (the address is a forbidden one) or abandoned (the claim ended first: cancel, drain,
	// lost lease).
	Requests *prometheus.CounterVec
	// Seconds is the time from dialling to the last byte of the answer, by job type, however the request ended.
	Seconds *prometheus.HistogramVec
	// Open is the number of requests that have not ended.
	Open prometheus.Gauge
	// Calls counts requests to the worker-local API, by operation (look, extend, progress, spawn, or other for what is none)
	// and the class of its answer (2xx, 4xx, 5xx).
	Calls *prometheus.CounterVec
}

// NewWorker registers the metrics of a worker of a pool.
func NewWorker(r prometheus.Registerer, pool string) *Worker {
	f := factory{prometheus.WrapRegistererWith(prometheus.Labels{"pool": pool}, r)}
	return &Worker{
		Claims:           f.counters("claims_total", "Claim statements, by result.", "result"),
		Claimed:          f.counter("claimed_runs_total", "Runs claimed and handed to a handler."),
		Settled:          f.counters("settled_runs_total", "Runs that left this worker, by outcome and job type.", "outcome", "type"),
		HandlerSeconds:   f.seconds("handler_seconds", "Time a handler ran, by job type.", "type"),
		SettleBatch:      f.batch("settle_batch_runs", "Results written at once."),
		Running:          f.gauge("running_handlers", "Handlers that have not stopped."),
		Unsettled:        f.gauge("unsettled_runs", "Runs whose result the database has not confirmed."),
		Beats:            f.counters("beats_total", "Heartbeats, by result.", "result"),
		LeaseRemaining:   f.gauge("lease_remaining_seconds", "Time until this worker stops by itself, as of the last beat."),
		SelfFences:       f.counter("self_fences_total", "Times this worker cancelled its handlers because it could not renew its lease."),
		Incarnations:     f.counter("incarnations_total", "Registrations of this worker."),
		Reconciles:       f.counter("reconciles_total", "Comparisons of receipts with what this worker holds."),
		LeasesRecovered:  f.counter("leases_recovered_total", "Runs of dead workers put back by this worker."),
		Wakeups:          f.counter("wakeups_total", "Notifications that woke the claim loop."),
		ListenerConnects: f.counter("listener_connects_total", "Successful LISTENs."),
		TuningGeneration: f.gauge("tuning_generation", "Generation of the pool's tuning in force."),
		Draining:         f.gauge("draining", "1 while the worker drains."),
		Retired:          f.counter("retired_runs_total", "Runs removed because they had outlived their pool's retention."),
		Unserved:         f.gauges("unserved_due_runs", "Due runs whose job type no live worker of the pool serves, by job type.", "type"),
		TaskFailures:     f.counters("task_failures_total", "Failed calls of periodic tasks, by task.", "task"),
		Endpoints: &Endpoints{
			Requests: f.counters("endpoint_requests_total", "Requests to endpoints that have ended, by job type and result.", "type", "result"),
			Seconds:  f.seconds("endpoint_request_seconds", "Time a request to an endpoint took, by job type.", "type"),
			Open:     f.gauge("endpoint_open_requests", "Requests to endpoints that have not ended."),
			Calls:    f.counters("local_api_requests_total", "Requests to the worker-local API, by operation and class of the answer.", "operation", "result"),
		},
	}
}

// ShowUnserved records the due runs that nobody serves, by job type.
func (w *Worker) ShowUnserved(counts map[string]int64) {
	w.Unserved.Reset()
	for name, n := range counts {
		w.Unserved.WithLabelValues(name).Set(float64(n))
	}
}

// Lease records the time until the worker stops by itself.
func (w *Worker) Lease(remaining time.Duration) { w.LeaseRemaining.Set(remaining.Seconds()) }

// factory registers metrics of the subsystem "worker".
type factory struct{ r prometheus.Registerer }

func register[C prometheus.Collector](f factory, c C) C {
	f.r.MustRegister(c)
	return c
}

func opts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "syncline", Subsystem: "worker", Name: name, Help: help}
}

func (f factory) counter(name, help string) prometheus.Counter {
	return register(f, prometheus.NewCounter(prometheus.CounterOpts(opts(name, help))))
}

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return register(f, prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels))
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	return register(f, prometheus.NewGauge(prometheus.GaugeOpts(opts(name, help))))
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return register(f, prometheus.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels))
}

func (f factory) seconds(name, help string, labels ...string) *prometheus.HistogramVec {
	o := opts(name, help)
	return register(f, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: o.Namespace, Subsystem: o.Subsystem, Name: o.Name, Help: o.Help,
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 11), // 1 ms to 17 min
	}, labels))
}

func (f factory) batch(name, help string) prometheus.Histogram {
	o := opts(name, help)
	return register(f, prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: o.Namespace, Subsystem: o.Subsystem, Name: o.Name, Help: o.Help,
		Buckets: prometheus.ExponentialBuckets(1, 2, 11), // 1 to 1024
	}))
}
