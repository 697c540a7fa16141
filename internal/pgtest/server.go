// Package pgtest starts throw-away PostgreSQL servers for tests: real ones, from the binaries on the machine, that
// can be stopped, killed and started again on the same port and data.
//
// A test binary has one server (Main), a test has one database (NewDB). Databases belong to a role without superuser
// rights, because nothing in the product may need more. Used by tests, the kill and chaos suites and the benchmarks; the
// demo's server is started by its own script.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/loopback"
)

// startTimeout bounds one start of the server, crash recovery included.
const startTimeout = 60 * time.Second

// Instance is one PostgreSQL server of its own data directory.
type Instance struct {
	bin, dir string
	port     *loopback.Port // reserved for all lives of the server
	as       *syscall.Credential
	settings []string

	mu      sync.Mutex
	process *process
}

// process is one life of the server.
type process struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{}
}

// New initialises a data directory and starts a server on a free loopback port. Settings ("name=value") override the
// ones for tests. The caller ends it with Close.
func New(ctx context.Context, settings ...string) (*Instance, error) {
	bin, err := findBinaries()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	// Not a test's own temporary directory: its parent is closed to the server's user, and a socket path has 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "pg")
	if err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	port, err := loopback.Reserve()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	in := &Instance{bin: bin, dir: dir, port: port, as: as, settings: settings}
	if err := in.initialise(ctx); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	if err := in.Start(ctx); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

// Start starts the server when it is not running and waits until it accepts connections.
func (in *Instance) Start(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.process != nil {
		return nil
	}
	p, err := in.launch()
	if err != nil {
		return err
	}
	in.process = p
	return in.awaitReady(ctx, p)
}

// Stop ends the server by a fast shutdown: open transactions are rolled back.
func (in *Instance) Stop() error { return in.end(syscall.SIGINT) }

// Kill ends the server and its backends with SIGKILL, as a crash of the process would.
func (in *Instance) Kill() error { return in.end(syscall.SIGKILL) }

// Close ends the server, removes its data and gives its port back.
func (in *Instance) Close() error {
	return errors.Join(in.Stop(), os.RemoveAll(in.dir), in.port.Release())
}

// URI is the connection string of a database for a role.
func (in *Instance) URI(role, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", role, in.Port(), database)
}

// Port is the TCP port on 127.0.0.1, the same over all lives of the server.
func (in *Instance) Port() int { return in.port.Number }

func (in *Instance) initialise(ctx context.Context) error {
	if in.as != nil {
		if err := os.Chown(in.dir, int(in.as.Uid), int(in.as.Gid)); err != nil {
			return fmt.Errorf("hand data directory over: %w", err)
		}
	}
	initdb := exec.CommandContext(ctx, in.bin+"/initdb", "-D", in.dir+"/data", "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = in.dir, &syscall.SysProcAttr{Credential: in.as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// launch starts one life. The kernel ends the server with the thread that started it, so that thread is kept for it.
func (in *Instance) launch() (*process, error) {
	args := []string{"-D", in.dir + "/data", "-k", in.dir, "-p", strconv.Itoa(in.Port())}
	// An acknowledged commit must survive Kill, so synchronous_commit stays on; without fsync it costs next to nothing.
	for _, s := range append([]string{
		"listen_addresses=127.0.0.1", "fsync=off", "full_page_writes=off", "synchronous_commit=on",
		"shared_buffers=32MB", "max_connections=200", "autovacuum_naptime=5s", "log_min_messages=warning",
	}, in.settings...) {
		args = append(args, "-c", s)
	}
	// A life ends by Stop or Kill, not with the context that started it.
	cmd := exec.CommandContext(context.Background(), in.bin+"/postgres", args...)
	p := &process{cmd: cmd, log: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd.Dir = in.dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: in.as, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in its log
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	return p, nil
}

func (in *Instance) awaitReady(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, in.URI("postgres", "postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.done:
			in.process = nil
			return fmt.Errorf("postgres ended at start:\n%s", p.log)
		case <-ctx.Done():
			return fmt.Errorf("postgres does not accept connections: %w", err)
		case <-tick.C:
		}
	}
}

func (in *Instance) end(sig syscall.Signal) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.process == nil {
		return nil
	}
	target := in.process.cmd.Process.Pid
	if sig == syscall.SIGKILL {
		target = -target // the whole group: no backend lives on
	}
	if err := syscall.Kill(target, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal postgres: %w", err)
	}
	<-in.process.done
	in.process = nil
	return nil
}

// findBinaries looks for a server: $PG_BINDIR, PATH, then Debian's versioned folders, the newest first.
func findBinaries() (string, error) {
	if dir := os.Getenv("PG_BINDIR"); dir != "" {
		if _, err := os.Stat(dir + "/initdb"); err != nil {
			return "", fmt.Errorf("PG_BINDIR is %q, but there is no initdb in it: %w", dir, err)
		}
		return dir, nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", fmt.Errorf("no PostgreSQL server on this machine (%w): run 'make postgres' or set PG_BINDIR to the folder of initdb", fs.ErrNotExist)
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return debianMajor(a) - debianMajor(b) })
	return filepath.Dir(newest), nil
}

func debianMajor(path string) int {
	major, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return major
}

// unprivileged says who the server runs as: PostgreSQL refuses uid 0, so root steps down.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("look up user %q: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("postgres refuses to run as root and neither user postgres nor nobody exists")
}
