package http

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/syncline-dev/syncline/internal/runtime/egress"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestCancelledWalkStopsAtOnce(t *testing.T) {
	cause := errors.New("the lease is lost")
	for name, handler := range map[string]func(w nethttp.ResponseWriter){
		"before the headers": func(nethttp.ResponseWriter) {},
		"within the body": func(w nethttp.ResponseWriter) {
			answerJSON(w, `{"items":[`)
			_ = nethttp.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			s, waits := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
				handler(w)
				cancel(cause)
				<-r.Context().Done()
			}, nil)
			_, err := s.Walk(nil).Next(ctx)
			if !errors.Is(err, cause) || len(*waits) > 0 {
				t.Errorf("got %v after %v, want the cause and no other try", err, *waits)
			}
		})
	}
}

func TestCancelledWaitStopsAtOnce(t *testing.T) {
	s, _ := serve(t, plain(500, "application/json", ""), nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("draining")
	s.client.sleep = func(ctx context.Context, _ time.Duration) error {
		cancel(cause)
		return sleep(ctx, time.Hour)
	}
	if _, err := s.Walk(nil).Next(ctx); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestSlowAnswerTimesOut(t *testing.T) {
	s, waits := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		answerJSON(w, `{"items":[`)
		_ = nethttp.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, func(c *Config) { c.Connection.TimeoutMillis = 20 })
	_, err := s.Walk(nil).Next(t.Context())
	if source.ClassOf(err) != source.Transient || !strings.Contains(err.Error(), "within 20ms") || len(*waits) != maxTries-1 {
		t.Errorf("got %v, want %s that names the timeout", err, source.Transient)
	}
}

func TestEgressIsCheckedAfterNameResolution(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) { reached.Add(1) }))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		s, waits := open(t, "http://"+host+":"+u.Port(), func(c *Config) { c.Connection.AllowedCIDRs = []string{"10.0.0.0/8"} })
		_, err := s.Walk(nil).Next(t.Context())
		if source.ClassOf(err) != source.Refused || !strings.Contains(err.Error(), "loopback") || len(*waits) > 0 || reached.Load() > 0 {
			t.Errorf("%s: got %v after %v and %d requests, want %s and none", host, err, *waits, reached.Load(), source.Refused)
		}
	}
}

func TestUnknownCertificateIsRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(plain(200, "application/json", `{"items":[]}`))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshakes
	server.StartTLS()
	t.Cleanup(server.Close)
	s, _ := open(t, server.URL, nil)
	_, err := s.Walk(nil).Next(t.Context())
	if source.ClassOf(err) != source.Transient || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, want an error about the certificate", err)
	}
}

func TestHTTP2IsSpoken(t *testing.T) {
	server := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		answerJSON(w, `{"items":[{"id":`+strconv.Itoa(r.ProtoMajor)+`}]}`)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	s, _ := open(t, server.URL, nil)
	s.transport.TLSClientConfig.RootCAs = server.Client().Transport.(*nethttp.Transport).TLSClientConfig.RootCAs
	pages, err := readAll(t, s.Walk(nil))
	if err != nil || len(pages) != 1 {
		t.Fatal(pages, err)
	}
	if got := pages[0].Records[0].(map[string]any)["id"]; got == nil || got.(interface{ String() string }).String() != "2" {
		t.Errorf("spoke HTTP/%v, want 2", got)
	}
}

func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	if newTransport(&egress.Guard{}).Proxy != nil {
		t.Error("requests go through a proxy, past the egress guard")
	}
}

func TestRateLimitBeyondTheDeadline(t *testing.T) {
	s, _ := serve(t, plain(200, "application/json", `{"items":[]}`), func(c *Config) { c.Limiter = rate.NewLimiter(rate.Every(1000*time.Hour), 1) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if _, err := s.Walk(nil).Next(ctx); err != nil {
		t.Fatalf("first request: %v, want the burst to let it out", err)
	}
	if _, err := s.Walk(nil).Next(ctx); source.ClassOf(err) != source.RateLimited {
		t.Errorf("second request: %v, want %s", err, source.RateLimited)
	}
}

func TestRequestsCarryWhatTheyShould(t *testing.T) {
	for name, tc := range map[string]struct {
		auth       spec.AuthKind
		credential spec.Credential
		want       string
	}{
		"none":   {spec.AuthNone, spec.Credential{Token: "unused"}, ""},
		"bearer": {spec.AuthBearer, spec.Credential{Token: secret}, "Bearer " + secret},
		"basic":  {spec.AuthBasic, spec.Credential{Username: "u", Password: secret}, "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+secret))},
	} {
		t.Run(name, func(t *testing.T) {
			var got nethttp.Header
			s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
				got = r.Header
				answerJSON(w, `{"items":[]}`)
			}, func(c *Config) {
				c.Connection.Auth, c.Credential, c.UserAgent = tc.auth, tc.credential, "syncline/1.2.3"
				c.Spec.Request.Headers = []spec.NameValue{{Name: "x-api-version", Value: "7"}, {Name: "accept", Value: "application/vnd.x+json"}}
			})
			if _, err := readAll(t, s.Walk(nil)); err != nil {
				t.Fatal(err)
			}
			for header, want := range map[string]string{
				"Authorization": tc.want, "User-Agent": "syncline/1.2.3", "X-Api-Version": "7", "Accept": "application/vnd.x+json", "Accept-Encoding": "gzip",
			} {
				if got.Get(header) != want {
					t.Errorf("%s is %q, want %q", header, got.Get(header), want)
				}
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Config)
		says string
	}{
		"a template mistake":        {func(c *Config) { c.Spec.Request.Path = "/{x}" }, "source.http.request.path: unknown placeholder"},
		"a selector that is none":   {func(c *Config) { c.Spec.Records = "body.(" }, "source.http.records"},
		"a base URL that is none":   {func(c *Config) { c.Connection.BaseURL = "x" }, "base URL"},
		"a range that is none":      {func(c *Config) { c.Connection.AllowedCIDRs = []string{"x"} }, "allowedCIDRs"},
		"no timeout":                {func(c *Config) { c.Connection.TimeoutMillis = 0 }, "timeoutMillis"},
		"an unknown auth":           {func(c *Config) { c.Connection.Auth = "Digest" }, "Digest"},
		"an empty token":            {func(c *Config) { c.Credential.Token = "" }, "token is empty"},
		"a token with a line break": {func(c *Config) { c.Credential.Token = secret + "\n" }, "line break"},
		"an empty basic credential": {func(c *Config) { c.Connection.Auth = spec.AuthBasic; c.Credential = spec.Credential{} }, "empty"},
		"a user name with a colon": {func(c *Config) {
			c.Connection.Auth = spec.AuthBasic
			c.Credential = spec.Credential{Username: "a:b", Password: secret}
		}, "colon"},
		"a password with a line break": {func(c *Config) {
			c.Connection.Auth = spec.AuthBasic
			c.Credential = spec.Credential{Username: "a", Password: secret + "\n"}
		}, "line break"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{
				Spec:       spec.HTTPSource{Order: spec.OrderNone, Limits: spec.DefaultLimits()},
				Connection: spec.HTTP{BaseURL: "https://h", Auth: spec.AuthBearer, TimeoutMillis: 1000},
				Credential: spec.Credential{Token: secret},
			}
			tc.edit(&cfg)
			_, err := New(cfg)
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, want an error that says %q and not the credential", err, tc.says)
			}
		})
	}
}
