// Package proxy stands between a process and its PostgreSQL server and does to their connections what networks do: it
// loses the reply to a chosen statement, delays it, falls silent, cuts connections, refuses new ones.
//
// It reads the protocol of unencrypted connections far enough to know which statement runs (simple queries and prepared
// statements alike). Only tests use it.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// Proxy forwards TCP connections to one server.
type Proxy struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu      sync.Mutex
	links   map[*link]struct{}
	faults  []*Fault
	silence chan struct{} // closed when the silence ends; nil: no silence
	refuse  bool
}

// Listen starts a proxy on a free loopback port for the server at target ("host:port"). The caller ends it with Close.
func Listen(target string) (*Proxy, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the proxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, links: map[*link]struct{}{}}
	p.done.Go(p.accept)
	return p, nil
}

// Port is where the proxy listens on 127.0.0.1.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Close ends the proxy with all its connections and waits until nothing of it runs.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.Resume()
	p.mu.Lock()
	for _, f := range p.faults {
		f.Release()
	}
	p.mu.Unlock()
	p.Cut()
	p.done.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Cut closes all connections, as a reset by the network would.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

// Refuse closes new connections at once (on) or serves them (off). Existing ones are not touched.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// Silence half-opens the network: nothing is forwarded in either direction and nothing is closed, on new connections
// neither, until Resume. What was sent meanwhile arrives then.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silence == nil {
		p.silence = make(chan struct{})
	}
}

// Resume ends a silence.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silence != nil {
		close(p.silence)
		p.silence = nil
	}
}

// awaitNoise blocks while the network is silent.
func (p *Proxy) awaitNoise() {
	for {
		p.mu.Lock()
		silence := p.silence
		p.mu.Unlock()
		if silence == nil {
			return
		}
		<-silence
	}
}

// Effect is what a fault does to the reply of its statement.
type Effect int

const (
	// LoseReply lets the statement run to its end, drops the reply and then cuts the connection.
	LoseReply Effect = iota
	// LoseReplySilently lets the statement run to its end and drops the reply; the client hears nothing more.
	LoseReplySilently
	// HoldReply lets the statement run to its end and keeps the reply until Release.
	HoldReply
	// HoldRequest keeps the statement from the server until Release, even if the client has given up meanwhile: what was
	// on the wire arrives late.
	HoldRequest
)

// Fault waits for one statement whose text contains a substring.
type Fault struct {
	match     string
	effect    Effect
	taken     bool // under the proxy's lock
	hit       chan struct{}
	release   chan struct{}
	abandoned chan struct{}
	once      sync.Once
}

// Arm sets up a fault for the next statement, on any connection, whose text contains match.
func (p *Proxy) Arm(match string, effect Effect) *Fault {
	f := &Fault{match: match, effect: effect, hit: make(chan struct{}), release: make(chan struct{}), abandoned: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, f)
	return f
}

// Hit is closed once the fault has done its work: the server has answered the statement (HoldRequest: the statement has
// come and is being kept).
func (f *Fault) Hit() <-chan struct{} { return f.hit }

// Abandoned is closed once the client has ended the connection of a request that is being kept. Whatever the client sent
// besides, such as the wish to cancel the statement, has reached the server by then and finds nothing to cancel.
func (f *Fault) Abandoned() <-chan struct{} { return f.abandoned }

// Release lets go of what a holding fault keeps.
func (f *Fault) Release() { f.once.Do(func() { close(f.release) }) }

// take gives the armed fault for a statement, once.
func (p *Proxy) take(sql string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		if !f.taken && strings.Contains(sql, f.match) {
			f.taken = true
			return f
		}
	}
	return nil
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuse := p.refuse
		p.mu.Unlock()
		if refuse {
			_ = client.Close()
			continue
		}
		p.done.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	p.awaitNoise()
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{proxy: p, client: client, server: server, statements: map[string]string{}}
	p.mu.Lock()
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(l.requests)
	both.Go(l.replies)
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}
