package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// link is one connection of a client and its connection to the server.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	statements     map[string]string     // prepared statements by name; requests owns it
	fault          atomic.Pointer[Fault] // what befalls the reply under way
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// requests forwards what the client sends, message by message.
func (l *link) requests() {
	defer l.close()
	in := bufio.NewReader(l.client)
	if startup, err := readStartup(in); err != nil || l.forward(l.server, startup) != nil {
		return
	}
	for {
		m, err := readMessage(in)
		if err != nil {
			return
		}
		if sql, runs := l.statement(m); runs {
			l.befall(l.proxy.take(sql), in)
		}
		if l.forward(l.server, m) != nil {
			return
		}
	}
}

// befall applies a fault to the statement that is about to be forwarded.
func (l *link) befall(f *Fault, in *bufio.Reader) {
	if f == nil {
		return
	}
	if f.effect == HoldRequest {
		close(f.hit)
		l.hold(f, in)
		return
	}
	l.fault.Store(f)
}

// terminate is the last message of a client.
var terminate = []byte{'X', 0, 0, 0, 4}

// hold waits for the release, and says meanwhile when the client ends the connection. What the client has sent stays.
func (l *link) hold(f *Fault, in *bufio.Reader) {
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for {
			_, err := in.Peek(in.Buffered() + 1)
			sent, _ := in.Peek(in.Buffered())
			switch {
			case err == nil && !bytes.HasSuffix(sent, terminate):
			case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, bufio.ErrBufferFull):
				return
			default:
				close(f.abandoned)
				return
			}
		}
	}()
	<-f.release
	_ = l.client.SetReadDeadline(time.Now())
	<-looked
	_ = l.client.SetReadDeadline(time.Time{})
}

// replies forwards what the server sends.
func (l *link) replies() {
	defer l.close()
	in := bufio.NewReader(l.server)
	var kept []byte
	for {
		m, err := readMessage(in)
		if err != nil {
			return
		}
		f := l.fault.Load()
		if f == nil {
			if l.forward(l.client, m) != nil {
				return
			}
			continue
		}
		kept = append(kept, m...)
		if m[0] != 'Z' { // not ready for the next query: the statement has not ended
			continue
		}
		if !l.endOfFault(f, kept) {
			return
		}
		kept = nil
	}
}

// endOfFault does what a fault does once its statement has ended; false ends the connection.
func (l *link) endOfFault(f *Fault, reply []byte) bool {
	select {
	case <-f.hit: // silent for good: later statements on this connection get no reply either
		return true
	default:
		close(f.hit)
	}
	switch f.effect {
	case LoseReplySilently:
		return true
	case HoldReply:
		<-f.release
		l.fault.Store(nil)
		return l.forward(l.client, reply) == nil
	default:
		return false
	}
}

func (l *link) forward(to net.Conn, m []byte) error {
	l.proxy.awaitNoise()
	_, err := to.Write(m)
	return err
}

// statement is the text that a message makes the server run.
func (l *link) statement(m []byte) (sql string, runs bool) {
	body := m[5:]
	switch m[0] {
	case 'Q':
		return cstring(&body), true
	case 'P':
		name := cstring(&body)
		l.statements[name] = cstring(&body)
	case 'B':
		cstring(&body) // portal
		return l.statements[cstring(&body)], true
	}
	return "", false
}

func cstring(b *[]byte) string {
	s, rest, _ := bytes.Cut(*b, []byte{0})
	*b = rest
	return string(s)
}

// readStartup reads the first message of a connection, which has no type.
func readStartup(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	return readBody(r, head, binary.BigEndian.Uint32(head))
}

// readMessage reads a message with its type and length.
func readMessage(r io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	return readBody(r, head, binary.BigEndian.Uint32(head[1:]))
}

// readBody reads the rest of a message; its length counts itself.
func readBody(r io.Reader, head []byte, length uint32) ([]byte, error) {
	if length < 4 {
		return nil, io.ErrUnexpectedEOF
	}
	m := make([]byte, len(head)+int(length)-4)
	copy(m, head)
	_, err := io.ReadFull(r, m[len(head):])
	return m, err
}
