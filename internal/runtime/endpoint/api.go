package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

const (
	// maxExtension bounds one extension.
	maxExtension = 24 * time.Hour
	// writeTimeout bounds one write to the database on an endpoint's behalf.
	writeTimeout = 10 * time.Second
	// maxBody bounds the body of a request in bytes; progress has a smaller bound of its own.
	maxBody = 2 << 20
)

// api is the worker-local API: what an endpoint may do about the run that it is executing. It listens from the first
// open on.
type api struct {
	address, host string
	log           *slog.Logger
	held          *registry
	db            *pgxpool.Pool
	calls         *prometheus.CounterVec

	mu     sync.Mutex
	server *http.Server
	at     string // the announced root, empty while nothing listens
	done   chan struct{}
}

// open listens unless it does. When it cannot, runs are posted without a callback: an endpoint that needs none loses
// nothing. The next open tries again.
func (a *api) open() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.address == "" || a.server != nil {
		return
	}
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", a.address)
	if err != nil {
		a.log.Error("the worker-local API cannot listen, endpoints are offered none", slog.String("address", a.address), slog.Any("error", err))
		return
	}
	a.at = "http://" + a.announced(listener.Addr())
	a.server = &http.Server{
		Handler: a.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	a.done = make(chan struct{})
	go func(server *http.Server, done chan struct{}) {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the worker-local API has ended", slog.Any("error", err))
		}
	}(a.server, a.done)
	a.log.Info("serving the worker-local API", slog.String("address", listener.Addr().String()), slog.String("announced", a.at))
}

// announced is the host and port at which endpoints find the API.
func (a *api) announced(listening net.Addr) string {
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return listening.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if a.host != "" {
		host = a.host
	}
	return net.JoinHostPort(host, port)
}

// root is what a callback's URL begins with, empty while there is no API.
func (a *api) root() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}

// close ends the API, with the time that ctx gives to requests under way.
func (a *api) close(ctx context.Context) error {
	a.mu.Lock()
	server, done := a.server, a.done
	a.mu.Unlock()
	if server == nil {
		return nil
	}
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-done
	return err
}

// routes are the API's paths.
func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /v1/runs/{run}", a.counted("look", a.authenticated(a.look)))
	mux.Handle("POST /v1/runs/{run}/extend", a.counted("extend", a.authenticated(a.extend)))
	mux.Handle("POST /v1/runs/{run}/progress", a.counted("progress", a.authenticated(a.progress)))
	mux.Handle("POST /v1/runs/{run}/spawn", a.counted("spawn", a.authenticated(a.spawn)))
	mux.Handle("/", a.counted("other", func(w http.ResponseWriter, _ *http.Request) {
		_ = refuse(w, &problem{Status: http.StatusNotFound, Detail: "there is no such path or method: use GET /v1/runs/{run}, " +
			"or POST /v1/runs/{run}/extend, /progress or /spawn"})
	}))
	return mux
}

// counted bounds a request and counts what an operation answers.
func (a *api) counted(operation string, answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		answer(seen, r)
		a.calls.WithLabelValues(operation, class(seen.status)).Inc()
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// operation does what one request asks for about a flight. What it returns is the answer, nil for 204.
type operation func(r *http.Request, f *flight) (any, *problem)

// authenticated finds the flight that the request's token belongs to.
func (a *api) authenticated(do operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		run, err := strconv.ParseInt(r.PathValue("run"), 10, 64)
		scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		var f *flight
		var over *ended
		if err == nil && strings.EqualFold(scheme, "Bearer") && bearer != "" {
			f, over = a.held.find(run, strings.TrimSpace(bearer))
		}
		switch {
		case over != nil:
			_ = refuse(w, overProblem(over))
		case f == nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			_ = refuse(w, unauthorized)
		default:
			value, p := do(r, f)
			_ = reply(w, value, p)
		}
	}
}

// state is what an endpoint sees of its run.
type state struct {
	Run     int64 `json:"run"`
	Token   int64 `json:"token"`
	Attempt int   `json:"attempt"`
	// CancelRequested says that the request is about to be given up because somebody asked for that.
	CancelRequested bool `json:"cancelRequested"`
	remaining
}

func (a *api) look(_ *http.Request, f *flight) (any, *problem) {
	_, cancelled := (&ended{cause: context.Cause(f.ctx)}).why()
	return state{
		Run: f.claim.RunID, Token: f.claim.Token, Attempt: f.claim.Attempt, CancelRequested: cancelled, remaining: f.left(time.Now()),
	}, nil
}

func (a *api) extend(r *http.Request, f *flight) (any, *problem) {
	var ask struct {
		Seconds int64 `json:"seconds"`
	}
	if p := decode(r, &ask); p != nil {
		return nil, p
	}
	if ask.Seconds < 1 || ask.Seconds > int64(maxExtension/time.Second) {
		return nil, &problem{
			Status: http.StatusBadRequest,
			Detail: "seconds is not from 1 to 86400: send {\"seconds\": 300} to have the request wait five minutes from now",
		}
	}
	now := time.Now()
	if !f.extend(now, time.Duration(ask.Seconds)*time.Second) {
		return nil, overProblem(&ended{cause: context.Cause(f.ctx)})
	}
	return f.left(now), nil
}

func (a *api) progress(r *http.Request, f *flight) (any, *problem) {
	value, err := io.ReadAll(io.LimitReader(r.Body, jobs.MaxProgress+1))
	switch {
	case err != nil:
		return nil, &problem{Status: http.StatusBadRequest, Detail: "the body could not be read to its end: send it again"}
	case len(value) > jobs.MaxProgress:
		return nil, tooLarge
	case !json.Valid(value):
		return nil, &problem{Status: http.StatusBadRequest, Detail: "the body is not one JSON value: send the progress itself, such as {\"done\": 3, \"of\": 10}"}
	}
	ctx, end := context.WithTimeout(r.Context(), writeTimeout)
	defer end()
	return nil, a.written(ctx, f, jobs.Progress(ctx, a.db, f.claim, value))
}

// born is a child of the run. Created is false when an earlier attempt had started it.
type born struct {
	Run     int64 `json:"run"`
	Created bool  `json:"created"`
}

func (a *api) spawn(r *http.Request, f *flight) (any, *problem) {
	var ask struct {
		Key     string          `json:"key"`
		Type    string          `json:"type"`
		Input   json.RawMessage `json:"input"`
		Options json.RawMessage `json:"options"`
	}
	if p := decode(r, &ask); p != nil {
		return nil, p
	}
	ctx, end := context.WithTimeout(r.Context(), writeTimeout)
	defer end()
	child, err := jobs.SpawnJSON(ctx, a.db, f.claim, ask.Key, ask.Type, ask.Input, ask.Options)
	if p := notSpawned(err); p != nil {
		return nil, p
	}
	return born{Run: child.RunID, Created: child.Created}, a.written(ctx, f, err)
}

// notSpawned is what the database refuses about a child; nil for what may befall any write.
func notSpawned(err error) *problem {
	collision, taken := errors.AsType[*jobs.CollisionError](err)
	switch {
	case errors.Is(err, jobs.ErrCancelling):
		return &problem{Status: http.StatusConflict, CancelRequested: true, Detail: "the run is being cancelled, so no child is born any more: stop"}
	case taken:
		return &problem{Status: http.StatusConflict, Detail: collision.Error()}
	case errors.Is(err, jobs.ErrInvalidStart), errors.Is(err, jobs.ErrUnknownPool), errors.Is(err, jobs.ErrTooLarge):
		return &problem{Status: http.StatusBadRequest, Detail: err.Error()}
	}
	return nil
}

// written says what became of a fenced write.
func (a *api) written(ctx context.Context, f *flight, err error) *problem {
	server, fromServer := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jobs.ErrLeaseLost):
		return &problem{Status: http.StatusConflict, Detail: "the claim does not hold any more, or the run has ended: stop, and roll back what can be; " +
			"another worker may already have the run"}
	case errors.Is(err, jobs.ErrBusy):
		return &problem{Status: http.StatusServiceUnavailable, RetryAfter: 1, Detail: "a transaction of yours holds the run: report before " +
			"complete() or after the commit, or try again"}
	case errors.Is(err, jobs.ErrInvalidStart):
		return tooLarge
	case fromServer && strings.HasPrefix(server.Code, "22"):
		return &problem{Status: http.StatusBadRequest, Detail: "the database cannot store this JSON: leave out \\u0000 and numbers beyond its range"}
	}
	a.log.WarnContext(ctx, "a write for an endpoint failed", slog.Int64("run", f.claim.RunID), slog.Any("error", err))
	return &problem{Status: http.StatusServiceUnavailable, RetryAfter: 5, Detail: "the database could not be written: try again"}
}

// decode reads a small JSON object, strictly: a member that does nothing would be a surprise.
func decode(r *http.Request, into any) *problem {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return &problem{Status: http.StatusBadRequest, Detail: "the body is not the JSON object that this path takes: " + err.Error()}
	}
	return nil
}
