package http

import (
	"errors"
	"io"
	"math"
	"mime"
	nethttp "net/http"
	"strings"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/source"
)

const (
	// bytesPerValue is the least that a JSON value may take of maxPageBytes on average. A decoded value fills some 50
	// bytes of memory even where its text is a single digit, so that bytes alone would not bound what a page takes.
	bytesPerValue = 16
	// fewValues are allowed whatever the bound.
	fewValues = 1024
	// valueMemory and objectMemory are what a value and an object take once decoded, besides their text, in bytes:
	// measured on 64 bits from lists of digits to objects of twelve fields, and never less than what those took.
	valueMemory, objectMemory = 40, 256
)

// bounds are what a page may still take, in bytes after decompression.
type bounds struct {
	page int64
	// run is what is left of the run's bound.
	run int64
}

// content is a decoded body.
type content struct {
	body any
	// size is that of the text, memory an estimate of what the decoded form takes, in bytes.
	size, memory int64
}

// readBody decodes the JSON of an answer. It reads at most one byte more than allowed, whatever the headers claim.
func readBody(resp *nethttp.Response, b bounds) (content, error) {
	if err := checkType(resp.Header); err != nil {
		return content{}, err
	}
	data, err := readBounded(resp.Body, b)
	if err != nil {
		return content{}, err
	}
	most := max(b.page/bytesPerValue, fewValues)
	values, objects := countValues(data, most)
	if values > most {
		return content{}, fail(source.LimitExceeded,
			"the page has more than %d JSON values: ask for fewer records, or raise maxPageBytes (%d), of which each value counts %d", most, b.page, bytesPerValue)
	}
	body, err := mapping.Decode(data)
	if err != nil {
		return content{}, undecodable(err)
	}
	size := int64(len(data))
	return content{body: body, size: size, memory: size + valueMemory*values + objectMemory*objects}, nil
}

func readBounded(body io.Reader, b bounds) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, min(b.page, b.run, math.MaxInt64-1)+1))
	switch size := int64(len(data)); {
	case size > b.page:
		return nil, fail(source.LimitExceeded, "the page is larger than maxPageBytes (%d)", b.page)
	case size > b.run:
		return nil, fail(source.LimitExceeded, "the pages of this run are together larger than maxRunBytes")
	case err != nil:
		return nil, err
	case size == 0:
		return nil, fail(source.Transient, "the answer is empty")
	}
	return data, nil
}

// countValues counts names and values by what separates them outside of strings, and objects by their brace. It stops
// soon after most.
func countValues(data []byte, most int64) (values, objects int64) {
	inString := false
	for i := 0; i < len(data) && values <= most; i++ {
		switch c := data[i]; {
		case c == '"':
			inString = !inString
		case inString:
			if c == '\\' {
				i++
			}
		case c == '{':
			objects++
			values++
		case c == ',' || c == ':' || c == '[':
			values++
		}
	}
	return values, objects
}

// undecodable tells an answer that broke off, which may come whole the next time, from one that never was JSON. The
// decoder's own message may quote the answer, and stays out.
func undecodable(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fail(source.Transient, "the JSON of the answer breaks off")
	}
	return fail(source.BadAnswer, "the answer is not valid JSON")
}

func checkType(h nethttp.Header) error {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return fail(source.BadAnswer, "the answer is compressed in a way that was not asked for")
	}
	if t := h.Get("Content-Type"); t != "" && !isJSON(t) {
		return &source.Error{Class: source.BadAnswer, Err: &echoError{
			before: "the answer is not JSON but ", given: typeName(t), after: ": check the base URL and the path",
		}}
	}
	return nil
}

func isJSON(contentType string) bool {
	t := typeName(contentType)
	return t == "application/json" || t == "text/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")
}

// typeName is the media type without its parameters, in lower case.
func typeName(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return "of an unreadable type"
	}
	return t
}
