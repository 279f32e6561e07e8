package tab

import "github.com/chromedp/cdproto/cdp"

// PageFrames returns the frames of a page, which is named by its main frame: that one first, and each before those below it. There is
// none where the page has gone.
func (t *Tab) PageFrames(page cdp.FrameID) []Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Frame
	var add func(f *frame)
	add = func(f *frame) {
		if s, ok := t.snapshot(f); ok {
			out = append(out, s)
			for _, child := range f.children {
				add(child)
			}
		}
	}
	add(t.frames[page])
	return out
}
