package mapping

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestParseWritesAndComparesCanonically(t *testing.T) {
	const null = "null"
	number := func(s string) any { return json.Number(s) }
	tests := map[string]struct {
		typ      spec.FieldType
		in       any
		wantText string
		wantJSON string
		same     any
	}{
		"text keeps blanks":            {spec.Text, " a ", " a ", `" a "`, nil},
		"text keeps the empty string":  {spec.Text, "", "", `""`, nil},
		"text of a number as written":  {spec.Text, number("1.50"), "1.50", `"1.50"`, nil},
		"text of a boolean":            {spec.Text, true, "true", `"true"`, nil},
		"text is not escaped for HTML": {spec.Text, "<&>", "<&>", `"<&>"`, nil},
		"boolean":                      {spec.Boolean, false, "false", "false", "false"},
		"boolean of empty is null":     {spec.Boolean, "", null, null, nil},
		"bigint beyond 2^53":           {spec.BigInt, number("9007199254740993"), "9007199254740993", "9007199254740993", "9007199254740993"},
		"bigint smallest":              {spec.BigInt, number("-9223372036854775808"), "-9223372036854775808", "-9223372036854775808", nil},
		"bigint from a whole decimal":  {spec.BigInt, number("12.00"), "12", "12", number("1.2e1")},
		"bigint of empty is null":      {spec.BigInt, "", null, null, nil},
		"numeric keeps its scale":      {spec.Numeric, number("12.30"), "12.30", "12.30", number("12.3")},
		"numeric from a string":        {spec.Numeric, "19.99", "19.99", "19.99", number("19.990")},
		"numeric without exponent":     {spec.Numeric, number("1.5e3"), "1500", "1500", number("1500.0")},
		"numeric small":                {spec.Numeric, number("1e-7"), "0.0000001", "0.0000001", number("0.00000010")},
		"numeric beyond float64": {
			spec.Numeric, number("0.1234567890123456789012345678901234567890"),
			"0.1234567890123456789012345678901234567890", "0.1234567890123456789012345678901234567890", nil,
		},
		"numeric negative zero":       {spec.Numeric, number("-0.0"), "0.0", "0.0", number("0")},
		"numeric with plus and zeros": {spec.Numeric, "+007", "7", "7", number("7")},
		"timestamp RFC 3339": {
			spec.TimestampTZ, "2026-01-02T15:04:05Z", "2026-01-02T15:04:05Z",
			`"2026-01-02T15:04:05Z"`, "2026-01-02T16:04:05.000+01:00",
		},
		"timestamp with a blank": {
			spec.TimestampTZ, "2026-01-02 15:04:05.120Z", "2026-01-02T15:04:05.12Z",
			`"2026-01-02T15:04:05.12Z"`, "2026-01-02T15:04:05.12Z",
		},
		"timestamp ruby style": {
			spec.TimestampTZ, "2026-01-02 15:04:05 +0100", "2026-01-02T14:04:05Z",
			`"2026-01-02T14:04:05Z"`, "2026-01-02 14:04:05 UTC",
		},
		"timestamp without offset is UTC": {spec.TimestampTZ, "2026-01-02T15:04:05", "2026-01-02T15:04:05Z", `"2026-01-02T15:04:05Z"`, nil},
		"timestamp without seconds": {
			spec.TimestampTZ, "2026-01-02T15:04", "2026-01-02T15:04:00Z", `"2026-01-02T15:04:00Z"`, "2026-01-02T15:04Z",
		},
		"timestamp of a date": {spec.TimestampTZ, "2026-01-02", "2026-01-02T00:00:00Z", `"2026-01-02T00:00:00Z"`, nil},
		"timestamp nanoseconds round": {
			spec.TimestampTZ, "2026-01-02T15:04:05.1234567Z", "2026-01-02T15:04:05.123457Z",
			`"2026-01-02T15:04:05.123457Z"`, "2026-01-02T15:04:05.123456999Z",
		},
		"timestamp of a Go time":     {spec.TimestampTZ, time.Unix(0, 0), "1970-01-01T00:00:00Z", `"1970-01-01T00:00:00Z"`, nil},
		"timestamp of empty is null": {spec.TimestampTZ, "", null, null, nil},
		"timestamp basic format":     {spec.TimestampTZ, "20260102T150405Z", "2026-01-02T15:04:05Z", `"2026-01-02T15:04:05Z"`, nil},
		"date":                       {spec.Date, "2026-01-31", "2026-01-31", `"2026-01-31"`, nil},
		"date of a time, as written": {spec.Date, "2026-01-31T23:00:00-05:00", "2026-01-31", `"2026-01-31"`, "2026-01-31 00:00:00.000Z"},
		"uuid in capitals": {
			spec.UUID, "0190163D-8694-739B-AEA5-966C26F8AD91", "0190163d-8694-739b-aea5-966c26f8ad91",
			`"0190163d-8694-739b-aea5-966c26f8ad91"`, "0190163d8694739baea5966c26f8ad91",
		},
		"jsonb sorts keys": {
			spec.JSONB,
			map[string]any{"b": number("1.0"), "a": []any{nil, true}},
			`{"a":[null,true],"b":1.0}`,
			`{"a":[null,true],"b":1.0}`,
			map[string]any{"a": []any{nil, true}, "b": number("1")},
		},
		"jsonb of a string":     {spec.JSONB, "", `""`, `""`, nil},
		"jsonb of null is null": {spec.JSONB, nil, null, null, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			v, err := Parse(tc.typ, tc.in)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			text := null
			if p := v.Text(); p != nil {
				text = *p
			}
			if text != tc.wantText {
				t.Errorf("Text is %q, want %q", text, tc.wantText)
			}
			if got := string(v.JSON()); got != tc.wantJSON || !json.Valid([]byte(got)) {
				t.Errorf("JSON is %s, want %s", got, tc.wantJSON)
			}
			if tc.same == nil {
				return
			}
			if same, err := Parse(tc.typ, tc.same); err != nil || !v.Equal(same) {
				t.Errorf("%v and %v (error %v) should be equal", v, same, err)
			}
		})
	}
}

func TestParseRefusesWithACode(t *testing.T) {
	number := func(s string) any { return json.Number(s) }
	deep := any(nil)
	for range MaxDepth + 2 {
		deep = []any{deep}
	}
	tests := map[string]struct {
		typ  spec.FieldType
		in   any
		want Code
	}{
		"text with NUL":                {spec.Text, "a\x00b", CodeNUL},
		"text that is not UTF-8":       {spec.Text, "a\xffb", CodeUTF8},
		"text of an object":            {spec.Text, map[string]any{}, CodeWrongType},
		"boolean of a number":          {spec.Boolean, number("1"), CodeWrongType},
		"boolean of another word":      {spec.Boolean, "yes", CodeInvalid},
		"bigint with a fraction":       {spec.BigInt, number("1.5"), CodeInvalid},
		"bigint one too large":         {spec.BigInt, number("9223372036854775808"), CodeOutOfRange},
		"bigint far too large":         {spec.BigInt, number("1e999999999"), CodeOutOfRange},
		"bigint of a boolean":          {spec.BigInt, true, CodeWrongType},
		"bigint of hexadecimal":        {spec.BigInt, "0x10", CodeInvalid},
		"numeric NaN":                  {spec.Numeric, "NaN", CodeInvalid},
		"numeric Infinity":             {spec.Numeric, "-Infinity", CodeInvalid},
		"numeric of dots":              {spec.Numeric, "1.2.3", CodeInvalid},
		"numeric of an exponent alone": {spec.Numeric, "e5", CodeInvalid},
		"numeric with a blank":         {spec.Numeric, "1 ", CodeInvalid},
		"numeric too long":             {spec.Numeric, number(strings.Repeat("9", MaxDigits+1)), CodeOutOfRange},
		"numeric of endless zeros":     {spec.Numeric, strings.Repeat("0", 2*MaxDigits) + "1", CodeOutOfRange},
		"numeric too small":            {spec.Numeric, number("1e-999999999"), CodeOutOfRange},
		"numeric exponent overflow":    {spec.Numeric, number("1e99999999999999999999"), CodeOutOfRange},
		"timestamp of a number":        {spec.TimestampTZ, number("1767225600"), CodeWrongType},
		"timestamp of words":           {spec.TimestampTZ, "tomorrow", CodeInvalid},
		"timestamp before year 1":      {spec.TimestampTZ, "0001-01-01T00:00:00+01:00", CodeOutOfRange},
		"timestamp of year 0":          {spec.TimestampTZ, "0000-06-01T00:00:00Z", CodeOutOfRange},
		"timestamp rounds out":         {spec.TimestampTZ, "9999-12-31T23:59:59.9999999Z", CodeOutOfRange},
		"timestamp of 30 February":     {spec.TimestampTZ, "2026-02-30T00:00:00Z", CodeInvalid},
		"date of year 0":               {spec.Date, "0000-01-01", CodeOutOfRange},
		"date the other way round":     {spec.Date, "31/01/2026", CodeInvalid},
		"uuid of a number":             {spec.UUID, number("1"), CodeWrongType},
		"uuid too short":               {spec.UUID, "0190163d", CodeInvalid},
		"uuid in other wrappers":       {spec.UUID, "x0190163d-8694-739b-aea5-966c26f8ad91x", CodeInvalid},
		"uuid as a URN":                {spec.UUID, "urn:uuid:0190163d-8694-739b-aea5-966c26f8ad91", CodeInvalid},
		"uuid with half the braces":    {spec.UUID, "{0190163d-8694-739b-aea5-966c26f8ad91", CodeInvalid},
		"timestamp of a leap second":   {spec.TimestampTZ, "2016-12-31T23:59:60Z", CodeInvalid},
		"timestamp of 24:00":           {spec.TimestampTZ, "2026-01-01T24:00:00Z", CodeInvalid},
		"timestamp a day off":          {spec.TimestampTZ, "2026-01-01T00:00:00+24:00", CodeInvalid},
		"timestamp 16 hours off":       {spec.TimestampTZ, "2026-01-01T00:00:00-16:00", CodeInvalid},
		"jsonb with NUL":               {spec.JSONB, map[string]any{"a": "\x00"}, CodeNUL},
		"jsonb with NUL in a key":      {spec.JSONB, map[string]any{"\x00": true}, CodeNUL},
		"jsonb that is not UTF-8":      {spec.JSONB, []any{"\xff"}, CodeUTF8},
		"jsonb too deep":               {spec.JSONB, deep, CodeTooDeep},
		"jsonb with a huge number":     {spec.JSONB, []any{number("1e2000")}, CodeOutOfRange},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			v, err := Parse(tc.typ, tc.in)
			e, ok := errors.AsType[*RecordError](err)
			if !ok || e.Code != tc.want {
				t.Fatalf("Parse gave %v and %v, want code %s", v, err, tc.want)
			}
		})
	}
}

func TestMessagesShowTheShapeOnly(t *testing.T) {
	_, err := Parse(spec.Date, "31/12/2025 Müller")
	if got := err.Error(); strings.Contains(got, "2025") || !strings.Contains(got, "99/99/9999 aaaaaa") {
		t.Errorf("message %q should show the shape and not the value", got)
	}
}

func TestParseTextReadsPostgreSQL(t *testing.T) {
	tests := map[string]struct {
		typ   spec.FieldType
		text  string
		same  any
		equal bool
	}{
		"timestamptz in UTC":          {spec.TimestampTZ, "2026-01-02 15:04:05.123+00", "2026-01-02T15:04:05.123Z", true},
		"timestamptz elsewhere":       {spec.TimestampTZ, "2026-01-02 20:34:05+05:30", "2026-01-02T15:04:05Z", true},
		"timestamptz local mean time": {spec.TimestampTZ, "1900-01-01 00:19:32+00:19:32", "1900-01-01T00:00:00Z", true},
		"timestamptz infinity":        {spec.TimestampTZ, "infinity", "2026-01-02T15:04:05Z", false},
		"timestamptz before our era":  {spec.TimestampTZ, "0044-03-15 00:00:00+00 BC", "0044-03-15T00:00:00Z", false},
		"numeric with scale":          {spec.Numeric, "12.30", json.Number("12.3"), true},
		"numeric NaN":                 {spec.Numeric, "NaN", json.Number("0"), false},
		"boolean":                     {spec.Boolean, "true", true, true},
		"jsonb as PostgreSQL writes it": {
			spec.JSONB, `{"a": 1.0, "b": [1, null]}`, map[string]any{"b": []any{json.Number("1.00"), nil}, "a": json.Number("1")}, true,
		},
		"jsonb null is not SQL null": {spec.JSONB, "null", nil, false},
		"text empty is not null":     {spec.Text, "", nil, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			column, err := ParseText(tc.typ, &tc.text)
			if err != nil {
				t.Fatalf("ParseText: %v", err)
			}
			incoming, err := Parse(tc.typ, tc.same)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if column.Equal(incoming) != tc.equal {
				t.Errorf("%v and %v: equal should be %t", column, incoming, tc.equal)
			}
			if !json.Valid(column.JSON()) {
				t.Errorf("JSON %s is not valid", column.JSON())
			}
		})
	}
}

func TestParseTextRefusesOtherDateStyles(t *testing.T) {
	for text, typ := range map[string]spec.FieldType{
		"02/01/2026 15:04:05.123 UTC":  spec.TimestampTZ,
		"02.01.2026 15:04:05.123 CET":  spec.TimestampTZ,
		"Fri 02 Jan 15:04:05 2026 UTC": spec.TimestampTZ,
		"01-02-2026":                   spec.Date,
	} {
		if v, err := ParseText(typ, &text); err == nil || !strings.Contains(err.Error(), "DateStyle") {
			t.Errorf("%q reads as %v with error %v, want one that names DateStyle", text, v, err)
		}
	}
}
