package schedule

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/robfig/cron/v3"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

const (
	// MaxPeriodSeconds is the longest period: 30 days. What is rarer is a cron schedule.
	MaxPeriodSeconds = 30 * 24 * 60 * 60
	// CronSpread bounds the delay that a subscription adds to the slots of its cron schedule, always the same one, so
	// that a thousand subscriptions at three o'clock do not start in the same moment.
	CronSpread = 15 * time.Second
)

// Validate reports why s can never run as written: neither or both kinds, a period out of range, a cron expression
// that does not read or names no day that exists (31 February), an unknown time zone.
func Validate(s spec.Schedule) error {
	if s.Cron == "" {
		return validatePeriod(s)
	}
	if s.PeriodSeconds != 0 {
		return errors.New("schedule has both periodSeconds and cron: set one")
	}
	slots, err := parseCron(s)
	if err != nil {
		return err
	}
	_, err = slots.next(reference)
	return err
}

func validatePeriod(s spec.Schedule) error {
	switch {
	case s.PeriodSeconds == 0:
		return errors.New("schedule has neither periodSeconds nor cron: set one, or leave the schedule out")
	case s.PeriodSeconds < 1 || s.PeriodSeconds > MaxPeriodSeconds:
		return fmt.Errorf("periodSeconds is %d, want 1 to %d: use cron for what is rarer", s.PeriodSeconds, MaxPeriodSeconds)
	case s.TimeZone != "":
		return errors.New("timeZone has no meaning with periodSeconds: leave it out, or use cron")
	}
	return nil
}

// reference is where the search for a first slot begins, so that Validate does not depend on the day. The slots of a
// schedule that has any lie within five years of it: it precedes a leap year.
var reference = time.Date(2027, time.January, 1, 0, 0, 0, 0, time.UTC)

// Next is the first slot of s after a time, in UTC. Slots do not depend on when a process started or last ran: a
// period counts from 1970, shifted by an offset of the subscription's own, so that a thousand of them spread evenly
// over it; cron follows the clock of its time zone, delayed by less than CronSpread. Whoever asks with the present
// time skips the slots that were missed, so that they collapse into the one run that is due.
//
// Where clocks go forward, a cron slot in the missing hour is left out that day; where they go back, a slot in the
// doubled hour happens at both, and one that names no hour keeps its pace throughout, as in Kubernetes' CronJobs. Where
// they go back by half an hour (Lord Howe Island alone), the slots of that day after the shift may be left out.
func Next(s spec.Schedule, subscription uuid.UUID, after time.Time) (time.Time, error) {
	if err := Validate(s); err != nil {
		return time.Time{}, err
	}
	if s.Cron == "" {
		period := time.Duration(s.PeriodSeconds) * time.Second
		return nextOfGrid(period, spread(subscription, period), after), nil
	}
	slots, err := parseCron(s)
	if err != nil {
		return time.Time{}, err
	}
	delay := spread(subscription, CronSpread)
	slot, err := slots.next(after.Add(-delay))
	return slot.Add(delay).UTC(), err
}

// nextOfGrid is the first of offset, offset + period, ... after a time.
func nextOfGrid(period, offset time.Duration, after time.Time) time.Time {
	step := period.Milliseconds()
	since := after.UnixMilli() - offset.Milliseconds()
	slots := since / step
	if since < 0 && since%step != 0 {
		slots--
	}
	return time.UnixMilli((slots+1)*step + offset.Milliseconds()).UTC()
}

// spread is a whole number of milliseconds below width, always the same for one subscription. Ids are SHA-1 hashes, so
// their bytes are as good as random.
func spread(subscription uuid.UUID, width time.Duration) time.Duration {
	n := binary.BigEndian.Uint64(subscription[8:]) ^ binary.BigEndian.Uint64(subscription[:8])
	return time.Duration(n%uint64(width.Milliseconds())) * time.Millisecond
}

// clock is a cron expression in its time zone.
type clock struct {
	expression string
	zone       *time.Location
	slots      cron.Schedule
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

func parseCron(s spec.Schedule) (clock, error) {
	if strings.ContainsAny(s.Cron, "=@") {
		return clock{}, fmt.Errorf("cron %q must have five fields and nothing else: write the time zone into timeZone, intervals into periodSeconds", s.Cron)
	}
	slots, err := parser.Parse(s.Cron)
	if err != nil {
		return clock{}, fmt.Errorf("cron %q: %w", s.Cron, err)
	}
	if s.TimeZone == "Local" {
		return clock{}, errors.New(`timeZone "Local" depends on the machine: write an IANA name such as Europe/Berlin`)
	}
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil {
		return clock{}, fmt.Errorf("timeZone %q is no IANA name that this build knows, such as Europe/Berlin", s.TimeZone)
	}
	return clock{s.Cron, zone, slots}, nil
}

func (c clock) next(after time.Time) (time.Time, error) {
	slot := c.slots.Next(after.In(c.zone))
	if slot.IsZero() {
		return time.Time{}, fmt.Errorf("cron %q never happens: no such day within five years", c.expression)
	}
	return slot, nil
}
