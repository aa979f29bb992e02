package configs

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// piece is a part of a heredoc: literal text (at most one line) or a sequence.
type piece struct {
	text    string
	literal bool
	// seen is a literal's text as HCL sees it when it looks for indentation: what the
	// ~ of a neighbouring sequence takes off is gone.
	seen string
}

// heredocText is the template text of a heredoc whose tokens after the opening one are
// toks; flush takes the common indentation off, as <<- does.
func heredocText(src []byte, toks hclsyntax.Tokens, flush bool) string {
	pieces := heredocPieces(src, toks)
	if flush {
		trim(pieces)
		unindent(pieces)
	}
	var b strings.Builder
	for _, p := range pieces {
		b.WriteString(p.text)
	}
	return b.String()
}

func heredocPieces(src []byte, toks hclsyntax.Tokens) []piece {
	var out []piece
	depth := 0
	var seq strings.Builder
	for i, t := range toks {
		before := depth
		depth += sequenceDepth(t.Type)
		if before == 0 && depth == 0 {
			if t.Type == hclsyntax.TokenCHeredoc {
				break
			}
			out = append(out, piece{text: string(t.Bytes), literal: true})
			continue
		}
		seq.Write(t.Bytes)
		if depth > 0 && i+1 < len(toks) {
			seq.Write(src[t.Range.End.Byte:toks[i+1].Range.Start.Byte])
		}
		if depth == 0 {
			out = append(out, piece{text: seq.String()})
			seq.Reset()
		}
	}
	return out
}

// trim notes what HCL sees of each literal beside sequences with ~.
func trim(pieces []piece) {
	for i := range pieces {
		p := &pieces[i]
		if !p.literal {
			continue
		}
		p.seen = p.text
		if i > 0 && !pieces[i-1].literal && strings.HasSuffix(pieces[i-1].text, "~}") {
			p.seen = strings.TrimLeftFunc(p.seen, unicode.IsSpace)
		}
		if i+1 < len(pieces) && !pieces[i+1].literal && pieces[i+1].text[2] == '~' {
			p.seen = strings.TrimRightFunc(p.seen, unicode.IsSpace)
		}
	}
}

// unindent does what HCL does for <<-: the least indentation of all lines that are not
// blank is taken off each line.
func unindent(pieces []piece) {
	least := math.MaxInt
	starts := lineStarts(pieces)
	for _, i := range starts {
		if !pieces[i].literal {
			least = 0
			continue
		}
		if blank(pieces[i].seen) {
			continue
		}
		trimmed := strings.TrimLeftFunc(pieces[i].seen, unicode.IsSpace)
		least = min(least, utf8.RuneCountInString(pieces[i].seen)-utf8.RuneCountInString(trimmed))
	}
	if least == math.MaxInt {
		return
	}
	for _, i := range starts {
		p := &pieces[i]
		if !p.literal || blank(p.seen) {
			continue
		}
		for range least {
			_, size := utf8.DecodeRuneInString(p.text)
			p.text = p.text[size:]
		}
	}
}

func blank(s string) bool {
	return strings.TrimLeftFunc(s, unicode.IsSpace) == "" && strings.HasSuffix(s, "\n")
}

// lineStarts are the pieces that begin a line.
func lineStarts(pieces []piece) []int {
	var out []int
	newline := true
	for i, p := range pieces {
		if newline {
			out = append(out, i)
		}
		newline = p.literal && strings.HasSuffix(p.seen, "\n")
	}
	return out
}
