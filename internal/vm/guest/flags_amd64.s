#include "textflag.h"

// func setNegative(p *bool, x int64)
TEXT ·setNegative(SB), NOSPLIT, $0-16
	MOVQ  p+0(FP), AX
	MOVQ  x+8(FP), BX
	TESTQ BX, BX
	SETLT (AX)
	RET
