package http

import (
	"encoding/base64"
	"errors"
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
	plainForms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.ToLower(url.QueryEscape(secret)), "s3cret%252f%2b=value"}
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
					if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(f)) {
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

func TestMessagesAreBounded(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for name, header := range map[string]string{"Content-Type": "text/" + long, "Link": "<http://" + long + `.example/>; rel="next"`} {
		s, _ := serve(t, plain(200, "application/json", `{"items":[{"id":1}]}`, name, header), linked)
		_, err := readAll(t, s.Walk(nil))
		if err == nil || len(err.Error()) > maxMessage+100 {
			t.Errorf("%s: got a message of %d bytes, want at most some %d", name, len(err.Error()), maxMessage)
		}
	}
	s, _ := open(t, "http://127.0.0.1/"+long, nil)
	if got := s.client.located(errors.New("x"), s.client.base).Error(); len(got) != maxMessage || !strings.HasSuffix(got, "...") {
		t.Errorf("got a message of %d bytes, want %d", len(got), maxMessage)
	}
}

func TestLinksOfTheUpstreamStayOutOfMessages(t *testing.T) {
	s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Path != "/items" {
			w.WriteHeader(nethttp.StatusBadRequest)
			return
		}
		plain(200, "application/json", `{"items":[{"id":1}]}`, "Link", `</private/path?and=query>; rel="next"`)(w, r)
	}, linked)
	_, err := readAll(t, s.Walk(nil))
	if source.ClassOf(err) != source.Rejected || strings.Contains(err.Error(), "private") || !strings.Contains(err.Error(), "/items") {
		t.Errorf("got %v, want %s that names the request by its template", err, source.Rejected)
	}
}

func TestShortSecretsDoNotGarbleMessages(t *testing.T) {
	for token, says := range map[string]string{
		"a": "the answer is not JSON but [withheld]: check the base URL and the path", // text/plain holds an a
		"z": "the answer is not JSON but text/plain: check the base URL and the path",
	} {
		s, _ := serve(t, plain(200, "text/plain", ""), func(c *Config) { c.Credential.Token = token })
		if _, err := s.Walk(nil).Next(t.Context()); err == nil || !strings.HasSuffix(err.Error(), says) {
			t.Errorf("token %q: got %v, want %q", token, err, says)
		}
	}
}
