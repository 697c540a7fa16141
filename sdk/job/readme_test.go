package job_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// matches gives what the parentheses of a pattern find, and wants so many.
func matches(t *testing.T, pattern, text string, want int) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	if len(found) != want {
		t.Fatalf("%q finds %q, want %d", pattern, found, want)
	}
	return found
}

func TestTheReadmesProgramIsTheOneThatIsBuilt(t *testing.T) {
	t.Parallel()
	program := read(t, "../worker/example_test.go")
	for _, shown := range matches(t, "(?s)```go\n(.*?)```", read(t, "../../README.md"), 1) {
		if !strings.Contains(program, shown) {
			t.Errorf("README.md shows Go that is not in the example of package worker:\n%s", shown)
		}
	}
}

func TestTheReadmesStatementsRun(t *testing.T) {
	t.Parallel()
	readme := read(t, "../../README.md")
	db := connect(newDatabase())
	defer db.Close()
	ctx := context.Background()
	for _, before := range []string{
		`CREATE TABLE tickets (id uuid)`,
		`INSERT INTO syncline.job_type (name, pool, last_seen) VALUES ('invoice', 'batch', clock_timestamp())`,
	} {
		if _, err := db.Exec(ctx, before); err != nil {
			t.Fatal(err)
		}
	}
	statements := append(matches(t, "(?s)```sql\n(.*?)```", readme, 1), matches(t, `(?m)^psql -c '(.*)'$`, readme, 3)...)
	for _, s := range statements {
		if _, err := db.Exec(ctx, s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	var lane string
	err := db.QueryRow(ctx, `SELECT lane_key FROM syncline.run WHERE job_type = 'invoice' AND run_at > clock_timestamp()`).Scan(&lane)
	if err != nil || lane != "ann" {
		t.Errorf("the README's start left a run in lane %q: %v", lane, err)
	}
}
