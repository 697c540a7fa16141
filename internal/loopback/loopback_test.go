package loopback_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/syncline-dev/syncline/internal/loopback"
)

// bind takes a port as one who does not reuse addresses, and lets it go.
func bind(t *testing.T, port int) error {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	return syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

func TestReservedPortIsItsServersOnlyBeforeBetweenAndAfterItsLives(t *testing.T) {
	t.Parallel()
	p, err := loopback.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	taken := func(when string) {
		t.Helper()
		if err := bind(t, p.Number); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s the port can be had by others: %v", when, err)
		}
	}
	for _, when := range []string{"before its server's first life", "before its server's second life"} {
		taken(when)
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("without a server, a connection is answered by %v, %v; want it refused", conn, err)
		}
		server, err := new(net.ListenConfig).Listen(t.Context(), "tcp", p.Address())
		if err != nil {
			t.Fatalf("the server cannot listen on its port: %v", err)
		}
		client, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Address())
		if err != nil {
			t.Fatalf("the server is not reached: %v", err)
		}
		_ = client.Close()
		_ = server.Close()
	}
	taken("after its server's last life")
	for range 2 {
		if err := p.Release(); err != nil {
			t.Fatal(err)
		}
	}
	if err := bind(t, p.Number); err != nil {
		t.Errorf("a released port is still taken: %v", err)
	}
}
