package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Await calls ready until it says yes, an error, or the context ends. The error then says what was waited for and what
// stood in the way.
func Await(ctx context.Context, what string, every time.Duration, ready func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var last error
	for {
		var ok bool
		if ok, last = ready(); ok {
			return nil
		}
		if fatal, ok := errors.AsType[*FatalError](last); ok {
			return fmt.Errorf("wait for %s: %w", what, fatal.Err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, errors.Join(context.Cause(ctx), last))
		case <-ticker.C:
		}
	}
}

// FatalError ends Await at once.
type FatalError struct{ Err error }

func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *FatalError) Unwrap() error { return e.Err }

// server is a process that listens on Address and outlives the program that started it: with a kept demo it must. It
// ends with the node's namespaces at the latest.
type server struct {
	name    string
	command *exec.Cmd
	exited  chan struct{}
}

// launch starts a server in a session of its own. The port is looked at first, so that a second server of the same kind
// is told apart from a broken one. The command's own context must not end with the caller's.
func launch(ctx context.Context, e *Env, name string, port int, command *exec.Cmd, as *syscall.Credential) (*server, error) {
	address := net.JoinHostPort(Address, strconv.Itoa(port))
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start %s: port %d on %s is taken; end what listens there (ss -ltnp names it)", name, port, Address)
	}
	log, err := os.Create(e.Log(name))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setsid: true}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s := &server{name: name, command: command, exited: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(s.exited)
	}()
	return s, nil
}

// await waits until probe succeeds, and tells a server that has ended from one that is slow.
func (s *server) await(ctx context.Context, e *Env, probe func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not ready after 60 s"))
	defer cancel()
	err := Await(ctx, s.name, 50*time.Millisecond, func() (bool, error) {
		select {
		case <-s.exited:
			return false, &FatalError{fmt.Errorf("it ended at once (%s)", s.command.ProcessState)}
		default:
		}
		err := probe()
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, Tail(e.Log(s.name), 15))
	}
	return nil
}

// Tail is the last lines of a log file.
func Tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return "the end of " + path + ":\n" + strings.Join(all[max(0, len(all)-lines):], "\n")
}

// unprivileged is who a server runs as that refuses to run as root: nil when this process is not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("neither user postgres nor user nobody exists, and PostgreSQL refuses to run as root")
}
