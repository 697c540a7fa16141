package mapping

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// generators make random incoming values, with a few edges each.
var generators = map[spec.FieldType]func(r *rand.Rand) any{
	spec.Text:        func(r *rand.Rand) any { return randomText(r) },
	spec.Boolean:     func(r *rand.Rand) any { return r.IntN(2) == 0 },
	spec.BigInt:      func(r *rand.Rand) any { return json.Number(strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)) },
	spec.Numeric:     func(r *rand.Rand) any { return randomNumber(r) },
	spec.TimestampTZ: func(r *rand.Rand) any { return randomTime(r) },
	spec.Date:        func(r *rand.Rand) any { return randomTime(r) },
	spec.UUID:        func(r *rand.Rand) any { return uuid.NewSHA1(uuid.Nil, []byte{byte(r.Int())}).String() },
	spec.JSONB:       func(r *rand.Rand) any { return randomJSON(r, 3) },
}

func randomText(r *rand.Rand) string {
	letters := []rune("ab \t\n\\\"'{},<>&/\u0001\u007f\u0085\u2028é漢😀\ufffd\ufdd0\U0010fee9")
	out := make([]rune, r.IntN(12))
	for i := range out {
		out[i] = letters[r.IntN(len(letters))]
	}
	return string(out)
}

func randomNumber(r *rand.Rand) json.Number {
	digits := func(n int) string {
		var b strings.Builder
		for range 1 + r.IntN(n) {
			b.WriteByte(byte('0' + r.IntN(3)*r.IntN(5)))
		}
		return b.String()
	}
	text := []string{"", "-"}[r.IntN(2)] + strings.TrimLeft(digits(4), "0")
	if text == "" || text == "-" {
		text += "0"
	}
	if r.IntN(2) == 0 {
		text += "." + digits(6)
	}
	if r.IntN(4) == 0 {
		text += fmt.Sprintf("e%d", r.IntN(61)-30)
	}
	return json.Number(text)
}

func randomTime(r *rand.Rand) string {
	const year9999 = 253402300799
	t := time.Unix(r.Int64N(year9999+62135596800)-62135596800, r.Int64N(1e9)).In(time.FixedZone("", (r.IntN(24)-12)*1800))
	if r.IntN(2) == 0 { // today rather than any time
		t = time.Unix(1767225600+r.Int64N(86400), r.Int64N(1e9)/1e6*1e6)
	}
	if t.Year() < 1 || t.Year() > 9999 {
		t = time.Unix(0, 0)
	}
	return t.UTC().Format([]string{time.RFC3339Nano, "2006-01-02 15:04:05.000Z", "2006-01-02", "2006-01-02T15:04:05.999999+00:00"}[r.IntN(4)])
}

func randomJSON(r *rand.Rand, depth int) any {
	switch n := r.IntN(8); {
	case n == 0 && depth > 0:
		out := map[string]any{}
		for range r.IntN(4) {
			out[randomText(r)] = randomJSON(r, depth-1)
		}
		return out
	case n <= 2 && depth > 0:
		out := []any{}
		for range r.IntN(4) {
			out = append(out, randomJSON(r, depth-1))
		}
		return out
	case n == 3:
		return randomText(r)
	case n == 4:
		return r.IntN(2) == 0
	case n == 5 && depth < 3:
		return nil
	}
	return randomNumber(r)
}

// sampleValues makes n values of a type.
func sampleValues(t *testing.T, typ spec.FieldType, n int) []Value {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	values := make([]Value, n)
	for i := range values {
		in := generators[typ](r)
		v, err := Parse(typ, in)
		if err != nil {
			t.Fatalf("Parse(%s, %#v): %v", typ, in, err)
		}
		values[i] = v
	}
	return values
}

func texts(values []Value) []*string {
	out := make([]*string, len(values))
	for i, v := range values {
		out[i] = v.Text()
	}
	return out
}

func connect(t *testing.T, timeZone string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(pgtest.NewDB(t).URI)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["timezone"] = timeZone
	config.RuntimeParams["datestyle"] = "ISO, DMY"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func TestValuesSurvivePostgreSQL(t *testing.T) {
	for _, timeZone := range []string{"UTC", "Asia/Kolkata", "Europe/Amsterdam", "America/St_Johns"} {
		conn := connect(t, timeZone)
		for typ := range generators {
			values := sampleValues(t, typ, 500)
			rows, err := conn.Query(t.Context(), fmt.Sprintf("SELECT v::%s::text FROM unnest($1::text[]) WITH ORDINALITY AS u(v, n) ORDER BY n", typ), texts(values))
			if err != nil {
				t.Fatal(err)
			}
			columns, err := pgx.CollectRows(rows, pgx.RowTo[*string])
			if err != nil {
				t.Fatalf("%s in %s: PostgreSQL refuses a value that Parse accepts: %v", typ, timeZone, err)
			}
			for i, column := range columns {
				back, err := ParseText(typ, column)
				if err != nil || !back.Equal(values[i]) {
					t.Errorf("%s in %s: %v comes back as %v (error %v)", typ, timeZone, values[i], back, err)
				}
			}
		}
	}
}

// TestEqualIsWhatPostgreSQLCallsEqual compares every value with its neighbours in both worlds.
func TestEqualIsWhatPostgreSQLCallsEqual(t *testing.T) {
	conn := connect(t, "UTC")
	for typ := range generators {
		values := sampleValues(t, typ, 60)
		query := fmt.Sprintf(`
			SELECT a.v::%[1]s IS NOT DISTINCT FROM b.v::%[1]s
			FROM unnest($1::text[]) WITH ORDINALITY AS a(v, n)
			CROSS JOIN unnest($1::text[]) WITH ORDINALITY AS b(v, n)
			ORDER BY a.n, b.n`, typ)
		rows, err := conn.Query(t.Context(), query, texts(values))
		if err != nil {
			t.Fatal(err)
		}
		equal, err := pgx.CollectRows(rows, pgx.RowTo[bool])
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range equal {
			a, b := values[i/len(values)], values[i%len(values)]
			if a.Equal(b) != want {
				t.Errorf("%s: Equal(%v, %v) is %t, PostgreSQL says %t", typ, a, b, !want, want)
			}
		}
	}
}

// TestChangedFieldsKeepEveryDigit stores JSON() as jsonb, as audit items do.
func TestChangedFieldsKeepEveryDigit(t *testing.T) {
	conn := connect(t, "UTC")
	for typ := range generators {
		for _, v := range sampleValues(t, typ, 50) {
			var back []byte
			if err := conn.QueryRow(t.Context(), "SELECT $1::text::jsonb::text", string(v.JSON())).Scan(&back); err != nil {
				t.Fatalf("%s %v: %v", typ, v, err)
			}
			decoded, err := Decode(back)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := Parse(typ, decoded); err != nil || !again.Equal(v) {
				t.Errorf("%s: %v comes back from an audit item as %v (error %v)", typ, v, again, err)
			}
		}
	}
}
