package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// The list functions that compare, by value where CEL's own go by type.
var exactFunctions = map[string]func(args ...ref.Val) ref.Val{
	"distinct":              func(args ...ref.Val) ref.Val { return distinct(args[0]) },
	"sort":                  func(args ...ref.Val) ref.Val { return sortBy(args[0], args[0]) },
	"@sortByAssociatedKeys": func(args ...ref.Val) ref.Val { return sortBy(args[0], args[1]) },
}

// members copies a list; false when v is none.
func members(v ref.Val) ([]ref.Val, bool) {
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, false
	}
	var out []ref.Val
	for i := list.Iterator(); i.HasNext() == types.True; {
		out = append(out, i.Next())
	}
	return out, true
}

func newList(elements []ref.Val) ref.Val {
	return types.NewRefValList(types.DefaultTypeAdapter, elements)
}

// concatenate copies both lists, so that no list is a chain of lists that each access climbs.
func concatenate(a, b traits.Lister) ref.Val {
	if growing, ok := a.(traits.MutableLister); ok {
		return growing.Add(b)
	}
	left, _ := members(a)
	right, _ := members(b)
	return newList(append(left, right...))
}

// distinct keeps the first of equal elements.
func distinct(v ref.Val) ref.Val {
	list, ok := members(v)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	seen := make(map[string]bool, len(list))
	var out []ref.Val
	for _, e := range list {
		if key := valueKey(e); !seen[key] {
			seen[key] = true
			out = append(out, e)
		}
	}
	return newList(out)
}

// valueKey is the same for values that are equal, and for no others.
func valueKey(v ref.Val) string {
	if d, ok := toDecimal(v); ok {
		return "n" + numberKey(d)
	}
	switch v := v.(type) {
	case types.String:
		return fmt.Sprintf("s%d:%s", len(v), string(v))
	case traits.Lister:
		var b strings.Builder
		for i := v.Iterator(); i.HasNext() == types.True; {
			b.WriteString(valueKey(i.Next()) + ",")
		}
		return "[" + b.String() + "]"
	case traits.Mapper:
		return mapKey(v)
	case *types.Optional:
		if v.HasValue() {
			return "?" + valueKey(v.GetValue())
		}
	}
	return fmt.Sprintf("%s %v", v.Type().TypeName(), v.Value())
}

func mapKey(m traits.Mapper) string {
	var entries []string
	for i := m.Iterator(); i.HasNext() == types.True; {
		key := i.Next()
		entries = append(entries, valueKey(key)+"="+valueKey(m.Get(key)))
	}
	slices.Sort(entries)
	return "{" + strings.Join(entries, ",") + "}"
}

// sortBy orders a list by keys: numbers by value, other keys when all are of one type. Equal ones keep their order.
func sortBy(v, by ref.Val) ref.Val {
	list, ok := members(v)
	keys, okKeys := members(by)
	if !ok || !okKeys || len(list) != len(keys) {
		return types.MaybeNoSuchOverloadErr(v)
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	alike := true
	slices.SortStableFunc(order, func(i, j int) int {
		c, ok := compare(keys[i], keys[j]).(types.Int)
		alike = alike && ok
		return int(c)
	})
	if !alike || len(keys) == 1 && !ordered(keys[0]) {
		return types.WrapErr(errors.New("sort() wants elements of one kind: numbers, or strings, or times"))
	}
	out := make([]ref.Val, len(list))
	for i, at := range order {
		out[i] = list[at]
	}
	return newList(out)
}

func ordered(v ref.Val) bool { _, ok := compare(v, v).(types.Int); return ok }
