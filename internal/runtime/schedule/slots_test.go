package schedule

import (
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the machine that runs the tests may have no time zones

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// punctual has no spread, so that slots show as they are written.
var punctual uuid.UUID

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		schedule spec.Schedule
		want     string
	}{
		"shortest period":   {spec.Schedule{PeriodSeconds: 1}, ""},
		"longest period":    {spec.Schedule{PeriodSeconds: MaxPeriodSeconds}, ""},
		"cron":              {spec.Schedule{Cron: "*/15 9-17 * * MON-FRI"}, ""},
		"cron with a zone":  {spec.Schedule{Cron: "0 3 * * *", TimeZone: "Europe/Berlin"}, ""},
		"leap day":          {spec.Schedule{Cron: "0 0 29 2 *"}, ""},
		"day or weekday":    {spec.Schedule{Cron: "0 0 31 * SUN"}, ""},
		"nothing":           {spec.Schedule{}, "neither"},
		"both":              {spec.Schedule{PeriodSeconds: 60, Cron: "* * * * *"}, "both"},
		"negative period":   {spec.Schedule{PeriodSeconds: -1}, "want 1 to"},
		"too long a period": {spec.Schedule{PeriodSeconds: MaxPeriodSeconds + 1}, "use cron"},
		"zone with period":  {spec.Schedule{PeriodSeconds: 60, TimeZone: "UTC"}, "timeZone has no meaning"},
		"31 February":       {spec.Schedule{Cron: "0 0 31 2 *"}, "never happens"},
		"31 June":           {spec.Schedule{Cron: "0 0 31 4,6,9,11 *"}, "never happens"},
		"six fields":        {spec.Schedule{Cron: "0 0 3 * * *"}, "expected exactly 5 fields"},
		"four fields":       {spec.Schedule{Cron: "0 3 * *"}, "expected exactly 5 fields"},
		"minute 60":         {spec.Schedule{Cron: "60 * * * *"}, "above maximum"},
		"step 0":            {spec.Schedule{Cron: "*/0 * * * *"}, "step"},
		"interval":          {spec.Schedule{Cron: "@every 1h"}, "periodSeconds"},
		"zone in cron":      {spec.Schedule{Cron: "TZ=UTC 0 3 * * *"}, "timeZone"},
		"zone in cron only": {spec.Schedule{Cron: "CRON_TZ="}, "timeZone"},
		"unknown zone":      {spec.Schedule{Cron: "0 3 * * *", TimeZone: "Europe/Atlantis"}, "no IANA name"},
		"zone as a path":    {spec.Schedule{Cron: "0 3 * * *", TimeZone: "../etc/passwd"}, "no IANA name"},
		"local zone":        {spec.Schedule{Cron: "0 3 * * *", TimeZone: "Local"}, "depends on the machine"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := Validate(tc.schedule)
			if tc.want == "" {
				if err != nil {
					t.Fatalf("error %v, want none", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			if _, next := Next(tc.schedule, punctual, at("2026-01-01T00:00:00Z")); next == nil {
				t.Error("Next gives a slot for a schedule that Validate refuses")
			}
		})
	}
}

func TestSlotsOfCron(t *testing.T) {
	tests := map[string]struct {
		cron, zone, after string
		want              []string
	}{
		"daily, in its zone": {
			"0 3 * * *", "America/New_York", "2026-01-10T07:59:59Z",
			[]string{"2026-01-10T08:00:00Z", "2026-01-11T08:00:00Z"},
		},
		"strictly after": {
			"0 3 * * *", "", "2026-01-10T03:00:00Z",
			[]string{"2026-01-11T03:00:00Z"},
		},
		"day of month or of week": {
			"0 0 13 * FRI", "", "2026-02-10T00:00:00Z",
			[]string{"2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"},
		},
		"leap day": {
			"0 0 29 2 *", "", "2026-01-01T00:00:00Z",
			[]string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"},
		},
		"forward: a slot in the missing hour is left out": {
			"30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"},
		},
		"forward: the pace is kept": {
			"*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z",
			[]string{"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"},
		},
		"back: a slot in the doubled hour happens at both": {
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"},
		},
		"back: the pace is kept": {
			"*/30 * * * *", "Europe/Berlin", "2026-10-25T00:15:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"},
		},
		"midnight that does not exist": {
			"0 0 * * *", "America/Asuncion", "2024-10-05T03:30:00Z",
			[]string{"2024-10-05T04:00:00Z", "2024-10-07T03:00:00Z"},
		},
		"a shift of half an hour leaves its day out": {
			"0 3 * * *", "Australia/Lord_Howe", "2026-04-03T12:00:00Z",
			[]string{"2026-04-03T16:00:00Z", "2026-04-05T16:30:00Z"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			slot := at(tc.after)
			for _, want := range tc.want {
				next, err := Next(spec.Schedule{Cron: tc.cron, TimeZone: tc.zone}, punctual, slot)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(at(want), next); d != "" {
					t.Fatalf("slot after %s (-want +got):\n%s", slot, d)
				}
				slot = next
			}
		})
	}
}

func TestPeriodsAreAGridOfTheSubscription(t *testing.T) {
	every := spec.Schedule{PeriodSeconds: 120}
	for i := range 50 {
		id := spec.ID("cluster", "subscription", "ns", strconv.Itoa(i))
		start := at("2026-01-01T00:00:00Z").Add(time.Duration(i) * 7919 * time.Millisecond)
		first, err := Next(every, id, start)
		if err != nil {
			t.Fatal(err)
		}
		if !first.After(start) || first.Sub(start) > 2*time.Minute {
			t.Fatalf("first slot %s is not within one period after %s", first, start)
		}
		// Whenever one asks within a period, also from another process, the answer is the same slot.
		for _, asked := range []time.Time{first.Add(-time.Millisecond), first.Add(-time.Nanosecond), start} {
			if again, _ := Next(every, id, asked); !again.Equal(first) {
				t.Errorf("asked at %s: %s, want %s", asked, again, first)
			}
		}
		second, _ := Next(every, id, first)
		if second.Sub(first) != 2*time.Minute {
			t.Errorf("the second slot is %s after the first, want one period", second.Sub(first))
		}
		// Missed slots collapse: after a day away there is one slot next, still on the grid.
		late, _ := Next(every, id, first.Add(24*time.Hour+time.Second))
		if late.Sub(first) != 24*time.Hour+2*time.Minute {
			t.Errorf("after a day away the next slot is %s later, want it on the grid", late.Sub(first))
		}
	}
}

func TestPeriodsBefore1970(t *testing.T) {
	for _, after := range []string{"1969-12-31T23:59:30Z", "1969-12-31T23:58:00Z"} {
		next, err := Next(spec.Schedule{PeriodSeconds: 60}, punctual, at(after))
		if gap := next.Sub(at(after)); err != nil || gap <= 0 || gap > time.Minute || next.Second() != 0 {
			t.Errorf("after %s: %s (error %v), want the next full minute", after, next, err)
		}
	}
}

func TestAThousandSubscriptionsSpread(t *testing.T) {
	tests := map[string]struct {
		schedule spec.Schedule
		width    time.Duration
	}{
		"period": {spec.Schedule{PeriodSeconds: 60}, time.Minute},
		"cron":   {spec.Schedule{Cron: "0 3 * * *"}, CronSpread},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			const buckets = 10
			var counts [buckets]int
			base := at("2026-01-01T02:59:59.999Z")
			for i := range 1000 {
				next, err := Next(tc.schedule, spec.ID("c", "subscription", "ns", strconv.Itoa(i)), base)
				if err != nil {
					t.Fatal(err)
				}
				delay := next.Sub(base)
				if delay <= 0 || delay > tc.width {
					t.Fatalf("slot is %s away, want at most %s", delay, tc.width)
				}
				counts[(delay-1)*buckets/tc.width]++
			}
			for i, n := range counts {
				if n < 50 || n > 150 {
					t.Errorf("bucket %d has %d of 1000 subscriptions, want about 100: %v", i, n, counts)
				}
			}
		})
	}
}

func TestCronWithSpreadNeitherSkipsNorRepeats(t *testing.T) {
	s := spec.Schedule{Cron: "* * * * *"}
	id := spec.ID("c", "subscription", "ns", "late")
	delay := spread(id, CronSpread)
	if delay == 0 {
		t.Fatal("the id has no delay: the test is wrong")
	}
	slot := at("2026-01-01T00:00:00Z")
	for i := range 100 {
		next, err := Next(s, id, slot)
		if err != nil {
			t.Fatal(err)
		}
		if want := at("2026-01-01T00:00:00Z").Add(time.Duration(i)*time.Minute + delay); !next.Equal(want) {
			t.Fatalf("slot %d is %s, want %s", i, next, want)
		}
		slot = next
	}
}

func FuzzNext(f *testing.F) {
	f.Add("*/5 * * * *", "Europe/Berlin", int64(0), int64(1767225600))
	f.Add("TZ=", "", int64(60), int64(0))
	f.Add("0 0 31 2 *", "Local", int64(0), int64(-1))
	f.Fuzz(func(t *testing.T, expression, zone string, period, after int64) {
		s := spec.Schedule{Cron: expression, TimeZone: zone, PeriodSeconds: period}
		start := time.Unix(after%(1<<34), 0)
		next, err := Next(s, spec.ID("c", "s", "n", zone), start)
		if err == nil && !next.After(start) {
			t.Errorf("%+v: slot %s is not after %s", s, next, start)
		}
		if (Validate(s) != nil) != (err != nil) {
			t.Errorf("%+v: Validate and Next disagree: %v", s, err)
		}
	})
}
