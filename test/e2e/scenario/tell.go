package scenario

import (
	"context"
	"fmt"
)

// Tell runs every step and then every check, for a reader. It ends at the first step that does not work; of the checks
// it runs all, and says afterwards whether one was wrong.
func (s *Story) Tell(ctx context.Context) error {
	steps := s.Steps()
	for i, step := range steps {
		s.console.Title("%d/%d  %s", i+1, len(steps)+1, step.Title)
		if err := step.Run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
	}
	s.console.Title("%d/%d  The checks", len(steps)+1, len(steps)+1)
	wrong := 0
	for _, c := range s.Checks() {
		n, err := s.Hold(ctx, c)
		if err != nil {
			return fmt.Errorf("check %s: %w", c.Name, err)
		}
		wrong += n
	}
	if wrong > 0 {
		return fmt.Errorf("%d figures are wrong", wrong)
	}
	return nil
}

// Hold runs one check, prints its figures and returns how many are wrong.
func (s *Story) Hold(ctx context.Context, c Check) (wrong int, err error) {
	verdicts, err := c.Run(ctx)
	if err != nil {
		return 0, err
	}
	s.console.Say("%s", c.Title)
	for _, v := range verdicts {
		s.console.Check(v.OK, v.Figures)
		if !v.OK {
			wrong++
		}
	}
	return wrong, nil
}
