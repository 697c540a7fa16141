//go:build chaos

package chaos_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// mutation changes the text of one SQL function of a database.
type mutation struct {
	function string
	// find must match as often as times says; 0 is once. Blanks stand for any white space.
	find    string
	replace string
	times   int
}

// apply rewrites the function and wants the text to be found: a rule that is written differently now needs another
// mutation, and must not go unchecked meanwhile.
func (m mutation) apply(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	var text string
	const read = "SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.pronamespace = $1::text::regnamespace AND p.proname = $2"
	if err := conn.QueryRow(t.Context(), read, schemaName, m.function).Scan(&text); err != nil {
		t.Fatalf("read function %s: %v", m.function, err)
	}
	want := max(m.times, 1)
	pattern := regexp.MustCompile(strings.Join(strings.Fields(regexp.QuoteMeta(m.find)), `\s+`))
	if n := len(pattern.FindAllString(text, -1)); n != want {
		t.Fatalf("%q is %d times in function %s, want %d: the mutation has to follow the function's text", m.find, n, m.function, want)
	}
	if _, err := conn.Exec(t.Context(), pattern.ReplaceAllLiteralString(text, m.replace)); err != nil {
		t.Fatalf("mutate function %s: %v", m.function, err)
	}
}
