// Package picture takes pictures of a page on which nothing secret shows. The page is looked at right before and right after each
// picture is taken, and what must not show is painted over in the picture itself: the page is not touched and cannot tell. Where both
// looks do not agree, or one of them fails, there is no picture.
package picture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"regexp"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/vars"
)

// WorldName names the isolated world in which the page is looked at. Elements in the set lastmile.secret of that world are covered.
const WorldName = "lastmile"

// Frame is one frame of a page.
type Frame struct {
	ID       cdp.FrameID
	Parent   cdp.FrameID       // "" = the main frame
	Endpoint chromium.Endpoint // of the process that draws it
}

// Page is what is to be shown.
type Page struct {
	Endpoint chromium.Endpoint
	Frames   func() []Frame // as they are now, the main frame first and each before those below it; none = the page is gone
}

// Part is one selector: kind is css, pierce, xpath, text or aria.
type Part struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// Mask is what no picture shows, beside passwords and other fields that browsers guard: texts and values with a secret in them, and the
// elements of the selectors, of which each is a chain.
type Mask struct {
	Secrets    []vars.Secret
	Beginnings bool // whether the beginning of a secret, of four characters and more, must not show either: while one is typed
	Selectors  [][]Part
}

func (m *Mask) texts() []string {
	out := make([]string, 0, len(m.Secrets))
	for _, s := range m.Secrets {
		out = append(out, s.Reveal())
	}
	return out
}

// chains are the selectors as the script wants them.
func (m *Mask) chains() [][]Part {
	if m.Selectors == nil {
		return [][]Part{}
	}
	return m.Selectors
}

// The bounds of a screenshot.
const (
	maxWidth = 1280      // pixels
	maxBytes = 300 << 10 // of its JPEG
	quality  = 60        // which is lowered until the picture is small enough
	attempts = 4         // until the page stands still
)

// ErrMoving is the error of a page on which what must be covered does not stay where it is.
var ErrMoving = errors.New("what must not show does not stand still")

// Take returns a JPEG of the visible part of the page.
func Take(ctx context.Context, p Page, m *Mask) ([]byte, error) {
	mute := silent{}
	before, err := look(ctx, p, m, mute)
	if err != nil {
		return nil, err
	}
	for range attempts {
		shot, err := chromium.Call(ctx, p.Endpoint, page.CaptureScreenshot,
			page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng, OptimizeForSpeed: new(true)})
		if err != nil {
			return nil, fmt.Errorf("take picture: %w", err)
		}
		after, err := look(ctx, p, m, mute)
		if err != nil {
			return nil, err
		}
		if !before.same(after) {
			before = after
			continue
		}
		shown, err := png.Decode(bytes.NewReader(shot.Data))
		if err != nil {
			return nil, fmt.Errorf("decode picture: %w", err)
		}
		return encode(cover(shown, before, after), quality, maxBytes)
	}
	return nil, ErrMoving
}

// veil is what covers: neither black nor white, so that it is not taken for the page's own.
var veil = color.RGBA{R: 0x60, G: 0x60, B: 0x68, A: 0xff}

// cover paints over what either sight has found, and makes the picture as small as it may be.
func cover(shown image.Image, sights ...*sight) *image.RGBA {
	bounds := shown.Bounds()
	out := image.NewRGBA(image.Rectangle{Max: bounds.Size()})
	draw.Draw(out, out.Bounds(), shown, bounds.Min, draw.Src)
	for _, s := range sights {
		for _, b := range s.boxes {
			draw.Draw(out, b.pixels(s.view, bounds.Size()), image.NewUniform(veil), image.Point{}, draw.Src)
		}
	}
	return shrink(out, maxWidth)
}

// shrink makes a picture at most so wide: each pixel is the mean of those that it stands for.
func shrink(in *image.RGBA, width int) *image.RGBA {
	from := in.Bounds().Size()
	if from.X <= width {
		return in
	}
	height := max(from.Y*width/from.X, 1)
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		top, bottom := y*from.Y/height, max((y+1)*from.Y/height, y*from.Y/height+1)
		for x := range width {
			left, right := x*from.X/width, max((x+1)*from.X/width, x*from.X/width+1)
			var sum [3]int
			for v := top; v < bottom; v++ {
				for u := left; u < right; u++ {
					at := in.PixOffset(u, v)
					for c := range sum {
						sum[c] += int(in.Pix[at+c])
					}
				}
			}
			n := (bottom - top) * (right - left)
			out.SetRGBA(x, y, color.RGBA{R: uint8(sum[0] / n), G: uint8(sum[1] / n), B: uint8(sum[2] / n), A: 0xff})
		}
	}
	return out
}

// encode makes a JPEG of at most limit bytes, by less quality and then by half the size.
func encode(in *image.RGBA, quality, limit int) ([]byte, error) {
	for {
		for q := quality; q >= quality/4; q -= quality / 4 {
			var b bytes.Buffer
			if err := jpeg.Encode(&b, in, &jpeg.Options{Quality: q}); err != nil {
				return nil, fmt.Errorf("encode picture: %w", err)
			}
			if b.Len() <= limit {
				return b.Bytes(), nil
			}
		}
		if in.Bounds().Dx() < 32 {
			return nil, fmt.Errorf("encode picture: got more than %d bytes at the least size", limit)
		}
		in = shrink(in, in.Bounds().Dx()/2)
	}
}

// Parse reads a selector in Recorder's form: aria/, text/, xpath/, pierce/ and css/ before it say what it is, nothing means CSS.
func Parse(selector string) Part {
	for _, kind := range []string{"aria", "text", "xpath", "pierce", "css"} {
		if text, ok := strings.CutPrefix(selector, kind+"/"); ok {
			if kind == "aria" { // which role it has does not matter here
				text = role.ReplaceAllString(text, "")
			}
			return Part{Kind: kind, Text: text}
		}
	}
	return Part{Kind: "css", Text: selector}
}

// role is what may follow the name of an aria selector.
var role = regexp.MustCompile(`\[\s*(role|name)\s*=[^\]]*\]`)
