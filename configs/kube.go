package configs

func (p *parser) kubernetes(n, version, kind *node) { p.errorf(kind, "not supported yet") }
