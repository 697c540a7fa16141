package mapping

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// adapter shows decoded JSON to expressions: numbers as int when they are written as a 64-bit integer, else as decimal.
type adapter struct{ types.Adapter }

// NativeToValue wraps without copying; members are adapted when an expression reaches for them.
func (a adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case json.Number:
		return numberOperand(string(v))
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	}
	return a.Adapter.NativeToValue(v)
}

// numberOperand is an int when the text is one of 64 bits, without a point or an exponent.
func numberOperand(text string) ref.Val {
	const longest = len("-9223372036854775808")
	if len(text) <= longest {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return types.Int(i)
		}
	}
	return decimalFrom(text)
}

// native gives the result of an expression as decoded JSON, or a time.Time.
func native(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.String:
		return string(v), nil
	case types.Int:
		return json.Number(strconv.FormatInt(int64(v), 10)), nil
	case types.Uint:
		return json.Number(strconv.FormatUint(uint64(v), 10)), nil
	case decimal:
		return json.Number(plain(v.d)), nil
	case types.Timestamp:
		return v.Time, nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return native(v.GetValue())
	case traits.Mapper:
		return nativeMap(v)
	case traits.Lister:
		return nativeList(v)
	}
	return nil, &RecordError{
		Code:    CodeWrongType,
		Message: fmt.Sprintf("the expression gives a %s: write string(...) around it", v.Type().TypeName()),
	}
}

// nativeMap gives decoded objects back as they are.
func nativeMap(m traits.Mapper) (any, error) {
	if decoded, ok := m.Value().(map[string]any); ok {
		return decoded, nil
	}
	out := map[string]any{}
	for i := m.Iterator(); i.HasNext() == types.True; {
		key := i.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, &RecordError{
				Code:    CodeWrongType,
				Message: fmt.Sprintf("the expression gives an object with a key of type %s: keys are strings", key.Type().TypeName()),
			}
		}
		v, err := native(m.Get(key))
		if err != nil {
			return nil, err
		}
		out[string(name)] = v
	}
	return out, nil
}

func nativeList(l traits.Lister) ([]any, error) {
	out := []any{}
	for i := l.Iterator(); i.HasNext() == types.True; {
		v, err := native(i.Next())
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
