package jobs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	features   = 70
	weaknesses = 80
)

var (
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	testName = regexp.MustCompile(`\bTest[A-Z]\w*`)
	tableRow = regexp.MustCompile(`(?m)^\| (W?)(\d+) \| ([^|]+) \| ([^|]*) \|$`)
)

// testNames are the names of all tests of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir("../../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(source), -1) {
			found[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// accountRow is one line of the two tables of docs/jobs.md.
type accountRow struct {
	weakness bool
	number   int
	text     string
}

// problems are what a row promises without keeping it. A weakness is held off by a test that carries its ID.
func (r accountRow) problems(tests map[string]bool) (list []string) {
	named := testName.FindAllString(r.text, -1)
	carries := false
	for _, name := range named {
		if !tests[name] {
			list = append(list, fmt.Sprintf("test %s does not exist", name))
		}
		carries = carries || regexp.MustCompile(fmt.Sprintf(`W%d(W\d+)*$`, r.number)).MatchString(name)
	}
	switch {
	case r.weakness && !carries && !strings.HasPrefix(r.text, "cannot occur: "):
		list = append(list, "no test with the weakness in its name, and no reason why it cannot occur")
	case !r.weakness && len(named) == 0 && !strings.HasPrefix(r.text, "replaced: "):
		list = append(list, "no test, and no reason why it is replaced")
	}
	return list
}

func TestEveryFeatureAndWeaknessIsAccountedFor(t *testing.T) {
	t.Parallel()
	known := testNames(t)
	next := map[bool]int{false: 1, true: 1}
	for _, m := range tableRow.FindAllStringSubmatch(page(t), -1) {
		r := accountRow{weakness: m[1] != "", text: strings.TrimSpace(m[4])}
		r.number, _ = strconv.Atoi(m[2])
		if r.number != next[r.weakness] {
			t.Errorf("row %s%d stands where %d is due", m[1], r.number, next[r.weakness])
		}
		next[r.weakness] = r.number + 1
		for _, problem := range r.problems(known) {
			t.Errorf("docs/jobs.md, row %s%d (%s): %s", m[1], r.number, m[3], problem)
		}
	}
	if next[false] != features+1 || next[true] != weaknesses+1 {
		t.Errorf("docs/jobs.md has %d features and %d weaknesses, want %d and %d", next[false]-1, next[true]-1, features, weaknesses)
	}
}

func TestARowThatPromisesTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"TestHeldW7": true, "TestBothW7W12": true, "TestOther": true}
	for _, test := range []struct {
		row  accountRow
		want int
	}{
		{accountRow{true, 7, "TestHeldW7"}, 0},
		{accountRow{true, 7, "TestBothW7W12, in words"}, 0},
		{accountRow{true, 12, "TestBothW7W12"}, 0},
		{accountRow{true, 1, "TestBothW7W12"}, 1},
		{accountRow{true, 7, "TestOther"}, 1},
		{accountRow{true, 7, "TestGoneW7"}, 1},
		{accountRow{true, 7, ""}, 1},
		{accountRow{true, 7, "cannot occur: words"}, 0},
		{accountRow{false, 7, "TestOther: words"}, 0},
		{accountRow{false, 7, "words"}, 1},
		{accountRow{false, 7, "replaced: words"}, 0},
		{accountRow{false, 7, "replaced: TestGone"}, 1},
	} {
		if got := test.row.problems(known); len(got) != test.want {
			t.Errorf("%+v has problems %v, want %d", test.row, got, test.want)
		}
	}
}
