package mapping

import (
	"context"
	"fmt"
	"regexp"
)

var (
	dottedPath = regexp.MustCompile(`^[A-Za-z0-9_@$-]+(\.[A-Za-z0-9_@$-]+)*$`)
	overBody   = regexp.MustCompile(`^body\b`)
)

// isPath tells a dotted path from CEL: what begins with the variable body is CEL.
func isPath(text string) bool {
	return text == "" || dottedPath.MatchString(text) && !overBody.MatchString(text)
}

// CompileRecords makes a selector of the list in a page: a dotted path, CEL over body, or nothing for the body itself.
// The selector refuses what is not a list and a path that leads nowhere; a null is an empty list, as servers write it
// that have none.
func CompileRecords(text string) (func(body any) ([]any, error), error) {
	if isPath(text) {
		return func(body any) ([]any, error) { return selectPath(text, body) }, nil
	}
	x, problems := compileExpression(bodyVariable, text)
	if len(problems) > 0 {
		problems[0].Field = "records"
		return nil, fmt.Errorf("compile %s", problems[0])
	}
	return func(body any) ([]any, error) { return selectExpression(x, body) }, nil
}

func selectPath(path string, body any) ([]any, error) {
	v, found := Lookup(path, body)
	if !found {
		return nil, fmt.Errorf("select records: the body has no %s", path)
	}
	return asList(v)
}

func selectExpression(x *expression, body any) ([]any, error) {
	v, err := x.eval(context.Background(), body)
	if err != nil {
		return nil, fmt.Errorf("select records: %w", err)
	}
	return asList(v)
}

func asList(v any) ([]any, error) {
	if v == nil {
		return []any{}, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("select records: got %s, want an array", kindOf(v))
	}
	return list, nil
}
