package command

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFlagsWinOverEnvironment(t *testing.T) {
	env := map[string]string{
		"SYNCLINE_POOL": "from-env", "SYNCLINE_DRAIN_TIMEOUT": "7s", "SYNCLINE_DATABASE_URI": "postgres://h/db",
		"POD_NAME": "w-1", "POD_NAMESPACE": "team",
	}
	o, err := parse([]string{"--pool", "from-flag", "--log-level=debug"}, func(k string) string { return env[k] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.pool != "from-flag" || o.drainTimeout != 7*time.Second || o.logLevel != "debug" || o.schema != "syncline" {
		t.Errorf("options are %+v, want the flag's pool, the variable's drain timeout and defaults", o)
	}
	if o.podName != "w-1" || o.podSpace != "team" {
		t.Errorf("the pod is %q in %q, want w-1 in team", o.podName, o.podSpace)
	}
}

func TestBadOptionsSayWhatToGiveW76(t *testing.T) {
	tests := map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"no pool":         {args: []string{"--database-uri=x"}, want: "--pool or SYNCLINE_POOL"},
		"a pool of bytes": {args: []string{"--pool=p\xff", "--database-uri=x"}, want: "--pool is"},
		"a long pool":     {args: []string{"--pool=" + strings.Repeat("p", 254), "--database-uri=x"}, want: "want 1 to 253 bytes"},
		"no schema":       {args: []string{"--pool=p", "--database-uri=x", "--schema="}, want: "--schema: schema name is empty"},
		"a taken schema":  {args: []string{"--pool=p", "--database-uri=x", "--schema=pg_jobs"}, want: "--schema: schema name"},
		"no database":     {args: []string{"--pool=p"}, want: "--database-uri-file"},
		"two databases":   {args: []string{"--pool=p", "--database-uri=x", "--database-uri-file=y"}, want: "not both"},
		"negative drain":  {args: []string{"--pool=p", "--database-uri=x", "--drain-timeout=-1s"}, want: "want 0 or more"},
		"no connections":  {args: []string{"--pool=p", "--database-uri=x", "--database-max-connections=0"}, want: "want 1 to 1000"},
		"no pod IP address": {
			args: []string{"--pool=p", "--database-uri=x"}, env: map[string]string{"POD_IP": "$(POD_IP)"}, want: "the downward API's status.podIP",
		},
		"left-over words": {args: []string{"--pool=p", "--database-uri=x", "batch"}, want: `unexpected argument "batch"`},
		"bad variable": {
			args: []string{"--pool=p", "--database-uri=x"},
			env:  map[string]string{"SYNCLINE_DRAIN_TIMEOUT": "soon"},
			want: "SYNCLINE_DRAIN_TIMEOUT",
		},
		"secret in a value": {
			args: []string{"--pool=p"},
			env:  map[string]string{"SYNCLINE_DATABASE_URI": "postgres://u:hunter2@h/db", "SYNCLINE_DATABASE_URI_FILE": "f"},
			want: "not both",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(tt.args, func(k string) string { return tt.env[k] }, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("the error is %v, want one with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestURIFileIsReadEachTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "uri")
	o := options{uriFile: file}
	for _, uri := range []string{"postgres://old@h/db", "postgres://new@h/db"} {
		if err := os.WriteFile(file, []byte(uri+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := o.databaseURI(); err != nil || got != uri {
			t.Errorf("the URI is %q (%v), want %q", got, err, uri)
		}
	}
}
