package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// options are what flags and environment say.
type options struct {
	pool, schema      string
	uri, uriFile      string
	keysetFile        string
	drainTimeout      time.Duration
	httpAddress       string
	localAddress      string
	logLevel          string
	maxConns          int
	podName, podSpace string
	podIP             string
}

// parse reads flags over environment variables: a flag that is given wins. Help and what is wrong with a flag go to out.
func parse(args []string, env func(string) string, out io.Writer) (options, error) {
	o := options{podName: env("POD_NAME"), podSpace: env("POD_NAMESPACE"), podIP: env("POD_IP")}
	f := flag.NewFlagSet("worker", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&o.pool, "pool", "", "`name` of the pool to work for [SYNCLINE_POOL]")
	f.StringVar(&o.schema, "schema", "syncline", "PostgreSQL `schema` of the queue [SYNCLINE_SCHEMA]")
	f.StringVar(&o.uri, "database-uri", "",
		"connection `URI` of the database; prefer a file, other users of the machine can read flags [SYNCLINE_DATABASE_URI]")
	f.StringVar(&o.uriFile, "database-uri-file", "", "`file` with the connection URI, read at every connect [SYNCLINE_DATABASE_URI_FILE]")
	f.StringVar(&o.keysetFile, "sealing-keyset-file", "",
		"`file` with the keyset that opens sealed credentials; without it they cannot be used [SYNCLINE_SEALING_KEYSET_FILE]")
	f.DurationVar(&o.drainTimeout, "drain-timeout", 30*time.Second, "how long runs may finish after SIGTERM [SYNCLINE_DRAIN_TIMEOUT]")
	f.StringVar(&o.httpAddress, "http-address", ":8081", "`address` of /healthz, /readyz and /metrics [SYNCLINE_HTTP_ADDRESS]")
	f.StringVar(&o.localAddress, "local-address", ":8082",
		"`address` of the API for the endpoints that the pool declares, opened with the first of them; empty for none [SYNCLINE_LOCAL_ADDRESS]")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error [SYNCLINE_LOG_LEVEL]")
	f.IntVar(&o.maxConns, "database-max-connections", 10,
		"connections that handlers may use at once; the worker itself uses up to 6 more [SYNCLINE_DATABASE_MAX_CONNECTIONS]")
	if err := fromEnvironment(f, env); err != nil {
		return o, err
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, o.validate()
}

// fromEnvironment sets each flag from its variable: --drain-timeout from SYNCLINE_DRAIN_TIMEOUT.
func fromEnvironment(f *flag.FlagSet, env func(string) string) (err error) {
	f.VisitAll(func(fl *flag.Flag) {
		name := "SYNCLINE_" + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		if v := env(name); v != "" && err == nil {
			if f.Set(fl.Name, v) != nil {
				err = fmt.Errorf("environment variable %s cannot be read as --%s", name, fl.Name)
			}
		}
	})
	return err
}

// maxPool bounds the name of a pool in bytes, as Kubernetes bounds that of a JobPool.
const maxPool = 253

// validate refuses what no waiting for the database could cure.
func (o options) validate() error {
	switch {
	case o.pool == "":
		return errors.New("no pool: give --pool or SYNCLINE_POOL")
	case len(o.pool) > maxPool || !utf8.ValidString(o.pool) || strings.ContainsRune(o.pool, 0):
		return fmt.Errorf("--pool is %q, want 1 to %d bytes of UTF-8", o.pool, maxPool)
	case o.uri == "" && o.uriFile == "":
		return errors.New("no database: give --database-uri-file, --database-uri or their environment variables")
	case o.uri != "" && o.uriFile != "":
		return errors.New("two databases: give --database-uri-file or --database-uri, not both")
	case o.podIP != "" && net.ParseIP(o.podIP) == nil:
		return fmt.Errorf("POD_IP is %q, want an IP address: set it by the downward API's status.podIP, or not at all", o.podIP)
	case o.drainTimeout < 0:
		return fmt.Errorf("--drain-timeout is %v, want 0 or more", o.drainTimeout)
	case o.maxConns < 1 || o.maxConns > 1000:
		return fmt.Errorf("--database-max-connections is %d, want 1 to 1000", o.maxConns)
	}
	if err := schema.ValidName(o.schema); err != nil {
		return fmt.Errorf("--schema: %w", err)
	}
	return nil
}

// databaseURI is the URI as it is now.
func (o options) databaseURI() (string, error) {
	if o.uriFile == "" {
		return o.uri, nil
	}
	b, err := os.ReadFile(o.uriFile)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}
