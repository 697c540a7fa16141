package schema_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Sealing the same secrets again gives other bytes, and must not make every worker read them again; secrets that cannot
// be sealed now leave those that stand.
func TestSecretsOfAPoolAreReplacedOnlyByAnotherVersion(t *testing.T) {
	t.Parallel()
	db := declared(t)
	row := func(secrets, version string) schema.DesiredPool {
		r := poolOf(t, ownerOf("team-a", "batch", "uid-1", 1), "batch", 5)
		if secrets != "" {
			r.Secrets = []byte(secrets)
		}
		if version != "none" {
			r.SecretsVersion = &version
		}
		return r
	}
	for _, s := range []struct {
		name       string
		row        schema.DesiredPool
		stored     string
		generation int64
	}{
		{"a pool without handlers", row("", ""), "", 1},
		{"the first secrets", row("sealed-1", "v1"), "sealed-1", 2},
		{"the same version sealed again", row("sealed-2", "v1"), "sealed-1", 2},
		{"nothing can be sealed", row("", "none"), "sealed-1", 2},
		{"another version", row("sealed-3", "v2"), "sealed-3", 3},
		{"no handler any more", row("", ""), "", 4},
	} {
		if got := writePools(t, db, s.row)["batch"]; got.Generation != s.generation {
			t.Errorf("%s: the generation is %d (%s), want %d", s.name, got.Generation, got.Outcome, s.generation)
		}
		var stored []byte
		if err := db.QueryRow(t.Context(), "SELECT secrets FROM pool WHERE name = 'batch'").Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if string(stored) != s.stored {
			t.Errorf("%s: the row holds %q, want %q", s.name, stored, s.stored)
		}
		if got := read(t, db).Pools["batch"].Sealed; got != (s.stored != "") {
			t.Errorf("%s: the snapshot says sealed %t", s.name, got)
		}
	}
}

// A pool that is scaled to zero must get runs of its types, or nothing would ever wake it.
func TestDeclaredTypeCanBeStartedBeforeAnyWorker(t *testing.T) {
	t.Parallel()
	db := declared(t)
	p := spec.DefaultPool()
	p.Handlers = []spec.Handler{{
		Type: "invoice", URL: "http://invoices", TimeoutMillis: 1000, Retry: spec.Retry{MaxAttempts: 1, BaseMillis: 1, MaxMillis: 1},
	}}
	row := poolOf(t, ownerOf("team-a", "batch", "uid-1", 1), "batch", 5)
	row.Tuning = encode(t, p)
	for range 2 {
		writePools(t, db, row)
	}
	if _, err := db.Exec(t.Context(), "SELECT start('invoice')"); err != nil {
		t.Fatal(err)
	}
	var pool string
	if err := db.QueryRow(t.Context(), "SELECT pool FROM ready").Scan(&pool); err != nil || pool != "batch" {
		t.Errorf("the run stands in pool %q (%v), want batch", pool, err)
	}
}

func TestDisownedPoolKeepsNoSecret(t *testing.T) {
	t.Parallel()
	db := declared(t)
	owner, version := ownerOf("team-a", "batch", "uid-1", 1), "v1"
	row := poolOf(t, owner, "batch", 5)
	row.Secrets, row.SecretsVersion = []byte("sealed"), &version
	writePools(t, db, row)
	inTx(t, db, func(tx pgx.Tx) error { return schema.DisownPool(t.Context(), tx, owner) })
	if read(t, db).Pools["batch"].Sealed {
		t.Error("the row of a pool that nobody owns holds secrets")
	}
}
