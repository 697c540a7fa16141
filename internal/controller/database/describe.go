package database

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes that have a meaning of their own here.
const (
	stateInvalidPassword      = "28P01"
	stateInvalidAuthorization = "28000"
	stateInvalidCatalog       = "3D000"
	stateTooManyConnections   = "53300"
	stateInsufficientRights   = "42501"
)

// describe turns what a database answered into the message of a condition. It stays the same while the cause does: no
// local port, no time, and never a credential.
func describe(err error) string {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return describeServer(server)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("host %q is not known: check the URI in the secret and the cluster's DNS", dns.Name)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return describeNetwork(op)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "the database does not answer in time: check that it runs and that no network policy is in the way"
	}
	return "the connection to the database breaks: check that it runs"
}

func describeServer(e *pgconn.PgError) string {
	text := fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code)
	switch e.Code {
	case stateInvalidPassword, stateInvalidAuthorization:
		return text + ": correct the URI in the secret"
	case stateInvalidCatalog:
		return text + ": create the database or correct the URI in the secret"
	case stateTooManyConnections:
		return text + ": raise max_connections or close other clients"
	}
	return text
}

// describeNetwork leaves the local address out: its port is another one at each try.
func describeNetwork(op *net.OpError) string {
	if op.Timeout() {
		return fmt.Sprintf("%s does not answer in time: check that the database runs and that no network policy is in the way", op.Addr)
	}
	cause := op.Err
	if call, ok := errors.AsType[*os.SyscallError](op.Err); ok {
		cause = call.Err
	}
	return fmt.Sprintf("%s: %v", op.Addr, cause)
}

// hasState says whether err is the server's answer with this SQLSTATE.
func hasState(err error, code string) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && server.Code == code
}
