package browser

import (
	"context"
	"time"

	"lastmile/internal/browser/picture"
	"lastmile/internal/browser/tab"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// roll notes the step that begins, and starts the film with the first.
func (s *Session) roll(step *scenario.Step, scope *vars.Scope) {
	s.camera.Begin(step)
	if doc, gone := s.tab.Document(); s.camera.Film != nil && !gone {
		s.camera.Film.Start(s.view(tab.Frame{Page: doc.Frame, Input: s.tab.Endpoint()}), s.camera.Mask(scope, true))
	}
}

// view is the page of a frame as cameras see it.
func (s *Session) view(of tab.Frame) picture.Page {
	return picture.Page{Endpoint: of.Input, Frames: func() []picture.Frame {
		var out []picture.Frame
		for _, f := range s.tab.PageFrames(of.Page) {
			out = append(out, picture.Frame{ID: f.ID, Parent: f.Parent, Endpoint: f.Endpoint})
		}
		return out
	}}
}

// findLimit bounds the search for the page that the last step was for.
const findLimit = 200 * time.Millisecond

// Picture takes a screenshot of the page that the last step was for, or of the run's own page where that one is not open. Nothing secret
// shows on it; an error means that there is none. It ends with ctx.
func (s *Session) Picture(ctx context.Context, scope *vars.Scope) (runs.Picture, error) {
	step := s.camera.Step()
	limited, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	of, _, err := s.tab.Find(limited, step.Target, nil)
	if err != nil {
		of, _, err = s.tab.Find(ctx, scenario.MainTarget, nil)
	}
	if err != nil {
		return runs.Picture{}, err
	}
	at := time.Now()
	body, err := picture.Take(ctx, s.view(of), s.camera.Mask(scope, false))
	if err != nil {
		return runs.Picture{}, err
	}
	return runs.Picture{Kind: runs.ArtefactScreenshot, Step: step.ID, At: at, JPEG: body}, nil
}
