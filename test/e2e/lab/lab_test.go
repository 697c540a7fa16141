package lab

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLongStepShowsThatItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		err := NewConsole(&out).During("build", func() error {
			<-time.After(11 * time.Second)
			return nil
		})
		want := "   build: 5 s ...\n   build: 10 s ...\n   build: done after 11.0 s\n"
		if err != nil || out.String() != want {
			t.Errorf("error %v, printed:\n%s\nwant:\n%s", err, out.String(), want)
		}
	})
}

func TestFailedStepIsNotCalledDone(t *testing.T) {
	var out bytes.Buffer
	broken := errors.New("broken")
	if err := NewConsole(&out).During("build", func() error { return broken }); !errors.Is(err, broken) || out.Len() > 0 {
		t.Errorf("error %v, printed %q, want the step's own error and nothing printed", err, out.String())
	}
}

func TestAwaitTellsWhatStoodInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := errors.New("not ready after 3 s")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, late)
		defer cancel()
		tries := 0
		err := Await(ctx, "the node", time.Second, func() (bool, error) { tries++; return false, errors.New("no route") })
		if !errors.Is(err, late) || !strings.Contains(err.Error(), "no route") || tries < 3 {
			t.Errorf("after %d tries: %v, want the cause and the last obstacle", tries, err)
		}
	})
}

func TestAwaitEndsAtOnceWhenItIsHopeless(t *testing.T) {
	broken := errors.New("broken")
	err := Await(t.Context(), "the node", time.Hour, func() (bool, error) { return false, &FatalError{broken} })
	if !errors.Is(err, broken) {
		t.Errorf("%v, want the reason", err)
	}
}

func TestPathsTravelThroughTheEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	t.Setenv("no_proxy", "example")
	want := Env{Root: "/r", State: "/s", Bin: "/b", PostgresBin: "/p", PocketBase: "/pb"}
	for _, v := range want.Environ() {
		name, value, _ := strings.Cut(v, "=")
		if strings.HasSuffix(strings.ToLower(name), "_proxy") {
			t.Errorf("%s would send the node's requests to a proxy that it cannot reach", name)
		}
		if strings.HasPrefix(name, "SYNCLINE_LAB_") {
			t.Setenv(name, value)
		}
	}
	got, err := FromEnv()
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	t.Setenv("SYNCLINE_LAB_STATE", "")
	if _, err := FromEnv(); err == nil || !strings.Contains(err.Error(), "SYNCLINE_LAB_STATE") {
		t.Errorf("%v, want an error that names the missing variable", err)
	}
}
