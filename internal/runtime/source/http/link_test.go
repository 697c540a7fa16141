package http

import (
	"strings"
	"testing"
)

func TestNextLink(t *testing.T) {
	for name, tc := range map[string]struct {
		headers []string
		want    string
		err     string
	}{
		"none":                            {nil, "", ""},
		"no next":                         {[]string{`</a>; rel="prev"`}, "", ""},
		"as GitHub writes it":             {[]string{`<https://h/i?page=2>; rel="next", <https://h/i?page=9>; rel="last"`}, "https://h/i?page=2", ""},
		"comma and semicolon in the URL":  {[]string{`</a?x=1,2;3>; rel=next`}, "/a?x=1,2;3", ""},
		"several relations":               {[]string{`</a>; rel="prefetch NEXT"`}, "/a", ""},
		"unquoted":                        {[]string{`</a>;rel=next`}, "/a", ""},
		"name in capitals, blanks around": {[]string{"</a> ;\t REL = \"next\" ; title=\"x\""}, "/a", ""},
		"quoted text that looks like one": {[]string{`</a>; title="a, <b>; rel=\"next\""; rel="prev"`}, "", ""},
		"escaped quote":                   {[]string{`</a>; title="a\"; rel=prev"; rel="next"`}, "/a", ""},
		"only the first rel counts":       {[]string{`</a>; rel="prev"; rel="next"`}, "", ""},
		"anchored links are not ours":     {[]string{`</a>; rel="next"; anchor="/other", </b>; rel=next`}, "/b", ""},
		"several headers":                 {[]string{`</a>; rel="prev"`, `</b>; rel="next"`}, "/b", ""},
		"empty elements":                  {[]string{` , ,</b>; ; rel="next",`}, "/b", ""},
		"relation that only contains it":  {[]string{`</a>; rel="nextish http://x/next"`}, "", ""},
		"parameter without value":         {[]string{`</a>; crossorigin; rel="next"`}, "/a", ""},
		"the same twice":                  {[]string{`</a>; rel="next", </a>; rel="next"`}, "/a", ""},
		"two different":                   {[]string{`</a>; rel="next", </b>; rel="next"`}, "", "two different"},
		"no angle bracket":                {[]string{`https://h/; rel="next"`}, "", "does not begin"},
		"no closing bracket":              {[]string{`<https://h/; rel="next"`}, "", "no closing"},
		"no closing quote":                {[]string{`</a>; rel="next`}, "", "no end"},
		"something between links":         {[]string{`</a>; rel="next" </b>`}, "", "not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := nextLink(tc.headers)
			if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("nextLink(%q) = %q, %v; want %q, error %q", tc.headers, got, err, tc.want, tc.err)
			}
		})
	}
}

// FuzzLink holds that no header makes the parser panic, loop, or lose a next link that stands in front.
func FuzzLink(f *testing.F) {
	for _, s := range []string{`</a>; rel="next", </b>; rel=prev`, `<`, `</a>;;;="`, `</a>; x="\`, `,,,`, "</a>;\trel\t=\tnext"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		links, err := parseLinks(header)
		if err != nil {
			if links != nil {
				t.Fatalf("parseLinks(%q) gives links beside error %v", header, err)
			}
			return
		}
		more, err := parseLinks(`</first>; rel="next", ` + header)
		if err != nil || len(more) != len(links)+1 || more[0].target != "/first" || !more[0].is("next") {
			t.Fatalf("parseLinks with a link in front of %q = %v, %v; want that link and %d others", header, more, err, len(links))
		}
	})
}
