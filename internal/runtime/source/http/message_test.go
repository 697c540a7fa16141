package http

import (
	"encoding/base64"
	"io"
	nethttp "net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// TestNoErrorHoldsTheCredential has an upstream that gives the credential and the cursor back wherever it can.
func TestNoErrorHoldsTheCredential(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
	const cursor = "cursor-value"
	plainForms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	for auth, forms := range map[spec.AuthKind][]string{
		spec.AuthBearer: plainForms,
		spec.AuthBasic:  append(plainForms, encoded, url.QueryEscape(encoded)),
	} {
		for _, form := range forms {
			for name, handler := range map[string]nethttp.HandlerFunc{
				"body":            plain(200, "application/json", form),
				"body of a 400":   plain(400, "application/json", form),
				"content type":    plain(200, form, form),
				"encoding":        plain(200, "application/json", "x", "Content-Encoding", form),
				"redirect host":   plain(302, "", "", "Location", "http://"+url.PathEscape(form)+".example/"+form),
				"redirect path":   plain(302, "", "", "Location", "/"+form+"?q="+form),
				"redirect broken": plain(302, "", "", "Location", "http://[::1/"+form),
				"link":            plain(200, "application/json", `{"items":[]}`, "Link", `</`+form+`?`+url.QueryEscape(form)+`>; rel="next"`),
				"link broken":     plain(200, "application/json", `{"items":[]}`, "Link", `<`+form),
				"retry after":     plain(429, "application/json", form, "Retry-After", form),
				"not HTTP":        hijacked(form + "\r\n\r\n"),
				"status line":     hijacked("HTTP/1.1 " + form + "\r\n\r\n"),
				"header line":     hijacked("HTTP/1.1 200 OK\r\n" + form + "\r\n\r\n"),
			} {
				s, _ := serve(t, handler, edits(linked, func(c *Config) {
					c.Connection.Auth, c.Credential = auth, spec.Credential{Username: "user", Password: secret, Token: secret}
					c.Spec.Cursor = &spec.Cursor{Token: &spec.TokenCursor{From: "t"}}
					c.Spec.Request.Query = []spec.NameValue{{Name: "since", Value: "{cursor}"}}
				}))
				_, err := readAll(t, s.Walk(&source.Cursor{Kind: kindToken, Value: cursor}))
				if err == nil {
					t.Errorf("%s: got no error", name)
					continue
				}
				for _, f := range append(forms, cursor) {
					if strings.Contains(err.Error(), f) {
						t.Errorf("%s, %s: error %q holds %q", auth, name, err, f)
					}
				}
			}
		}
	}
}

// hijacked writes raw bytes instead of an answer.
func hijacked(raw string) nethttp.HandlerFunc {
	return func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		conn, _, err := nethttp.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.Close()
	}
}
