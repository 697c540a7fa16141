// Package loopback reserves ports on 127.0.0.1 for servers that tests start: one that is found free and let go may be
// somebody else's by the time the server wants it, and one whose server has been stopped by the time it starts again.
package loopback

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// Port is a reserved port.
type Port struct {
	// Number is the port.
	Number int
	holder *os.File // a socket that is bound and never listens
}

// Reserve takes a free port until Release. The system gives it to no one who asks for any port; a server that is told its
// number may listen there, again and again, as long as it reuses addresses, which servers do. Until one listens, connections
// are refused.
func Reserve() (*Port, error) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve a port: %w", os.NewSyscallError("socket", err))
	}
	p := &Port{holder: os.NewFile(uintptr(socket), "reserved port")}
	if p.Number, err = bind(socket); err != nil {
		_ = p.Release()
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	return p, nil
}

func bind(socket int) (port int, err error) {
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return name.(*syscall.SockaddrInet4).Port, nil
}

// Address is "127.0.0.1:PORT".
func (p *Port) Address() string { return "127.0.0.1:" + strconv.Itoa(p.Number) }

// Release gives the port back. A second one does nothing.
func (p *Port) Release() error {
	if err := p.holder.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("release port %d: %w", p.Number, err)
	}
	return nil
}
