package jobs

import "testing"

func TestStatementsOfCallersNameTheSchema(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		startSQL:           `SELECT run, created FROM "a.b".start($1, $2::jsonb, $3::jsonb)`,
		startManySQL:       `SELECT run, created FROM "a.b".start_many($1, $2::text[]::jsonb[], $3::text[]::jsonb[])`,
		spawnSQL:           `SELECT child, created FROM "a.b".spawn($1, $2, $3, $4, $5::jsonb, $6::jsonb)`,
		cancelSQL:          `SELECT "a.b".cancel($1, $2, $3, $4::jsonb)`,
		cancelScopeSQL:     `SELECT cancelled, requested, coalesce(next, 0) FROM "a.b".cancel_scope($1, $2, $3, $4::jsonb)`,
		rescheduleScopeSQL: `SELECT moved, 0, coalesce(next, 0) FROM "a.b".reschedule_scope($1, $2, $3::jsonb)`,
		replaySQL:          `SELECT "a.b".replay($1, $2, $3::jsonb)`,
		signalSQL:          `SELECT "a.b".signal($1, $2, $3::jsonb, $4)`,
		fenceSQL:           `SELECT "a.b".fence($1, $2, $3)`,
		completeSQL:        `SELECT "a.b".complete($1, $2, $3::jsonb)`,
		progressSQL:        `SELECT "a.b".progress($1, $2, $3, $4::jsonb)`,
	}
	for sql, want := range tests {
		if got := qualify("a.b", sql); got != want {
			t.Errorf("qualified is\n%s\nwant\n%s", got, want)
		}
	}
	const other = `SELECT x FROM own_table WHERE start(1)`
	if got := qualify("a.b", other); got != other {
		t.Errorf("a statement of somebody else became %s", got)
	}
}
