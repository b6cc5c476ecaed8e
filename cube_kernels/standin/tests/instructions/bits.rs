use crate::support::{evaluate, run};

#[test]
fn logic() {
    assert_eq!(evaluate("and.b32", "rrr", &[12, 10]), 8);
    assert_eq!(evaluate("or.b64", "ddd", &[12, 3]), 15);
    assert_eq!(evaluate("xor.b16", "hhh", &[0xffff, 0xff]), 0xff00);
    assert_eq!(evaluate("xor.pred", "ppp", &[1, 1]), 0);
    assert_eq!(evaluate("not.pred", "pp", &[1]), 0);
    assert_eq!(evaluate("not.b32", "rr", &[0]), 0xffff_ffff);
    assert_eq!(evaluate("cnot.b32", "rr", &[5]), 0);
    assert_eq!(evaluate("cnot.b32", "rr", &[0]), 1);
    // The table of a & b | c, where a is 0xf0, b is 0xcc and c is 0xaa.
    assert_eq!(
        evaluate("lop3.b32", "rrrri", &[12, 10, 1, 0xf0 & 0xcc | 0xaa]),
        9
    );
    assert_eq!(
        evaluate("lop3.b32", "rrrri", &[0xff00, 0xf0f0, 0, 0xf0 ^ 0xcc]),
        0x0ff0
    );
}

#[test]
fn shifts_beyond_the_type_shift_all_out() {
    assert_eq!(evaluate("shl.b32", "rrr", &[3, 31]), 0x8000_0000);
    assert_eq!(evaluate("shl.b32", "rrr", &[3, 32]), 0);
    assert_eq!(evaluate("shr.u32", "rrr", &[0x8000_0000, 33]), 0);
    assert_eq!(evaluate("shr.s32", "rrr", &[0x8000_0000, 33]), 0xffff_ffff);
    assert_eq!(evaluate("shr.s32", "rrr", &[0x8000_0000, 4]), 0xf800_0000);
    assert_eq!(evaluate("shr.b64", "ddr", &[1 << 63, 63]), 1);
    assert_eq!(evaluate("shl.b16", "hhr", &[1, 16]), 0);
    let (low, high) = (0x1122_3344, 0x5566_7788);
    assert_eq!(
        evaluate("shf.l.wrap.b32", "rrrr", &[low, high, 8]),
        0x6677_8811
    );
    assert_eq!(
        evaluate("shf.r.wrap.b32", "rrrr", &[low, high, 40]),
        0x8811_2233
    );
    assert_eq!(evaluate("shf.l.clamp.b32", "rrrr", &[low, high, 40]), low);
    assert_eq!(evaluate("shf.r.clamp.b32", "rrrr", &[low, high, 40]), high);
}

#[test]
fn counts_and_fields() {
    assert_eq!(evaluate("popc.b32", "rr", &[0xf0f]), 8);
    assert_eq!(evaluate("popc.b64", "rd", &[u64::MAX]), 64);
    assert_eq!(evaluate("clz.b32", "rr", &[1]), 31);
    assert_eq!(evaluate("clz.b64", "rd", &[0]), 64);
    assert_eq!(evaluate("brev.b32", "rr", &[1]), 0x8000_0000);
    assert_eq!(evaluate("bfind.u32", "rr", &[0x100]), 8);
    assert_eq!(evaluate("bfind.shiftamt.u32", "rr", &[0x100]), 23);
    assert_eq!(evaluate("bfe.u32", "rrrr", &[0xabcd, 4, 8]), 0xbc);
    assert_eq!(evaluate("bfe.s32", "rrrr", &[0xabcd, 4, 8]), 0xffff_ffbc);
    assert_eq!(evaluate("bfi.b32", "rrrrr", &[0xff, 0, 4, 4]), 0xf0);
    assert_eq!(
        evaluate("prmt.b32", "rrrr", &[0x3322_1100, 0x7766_5544, 0x0167]),
        0x0011_6677
    );
}

#[test]
fn moves_pack_and_unpack() {
    let words = run(
        "mov.b32 {%h1, %h2}, 0x12345678;\nmov.b32 %r1, {%h2, %h1};\nmov.b64 %rd2, {%r1, 7};\n\
         mov.b64 {%r2, %r3}, %rd2;\nst.global.v2.b32 [%rd0], {%r2, %r3};",
        1,
        &[0; 2],
    );
    assert_eq!(words, [0x5678_1234, 7]);
    assert_eq!(evaluate("selp.b32", "rrrp", &[1, 2, 0]), 2);
    assert_eq!(evaluate("selp.f32", "rrrp", &[1, 2, 1]), 1);
}

#[test]
fn loads_extend_by_their_type() {
    let words = run(
        "ld.global.s8 %r1, [%rd0];\nld.global.u8 %r2, [%rd0];\nld.global.s16 %r3, [%rd0];\n\
         ld.global.u16 %h1, [%rd0];\ncvt.u32.u16 %r4, %h1;\nst.global.v4.b32 [%rd0], {%r1, %r2, %r3, %r4};",
        1,
        &[0x8081, 0, 0, 0],
    );
    assert_eq!(words, [0xffff_ff81, 0x81, 0xffff_8081, 0x8081]);
}

#[test]
fn generic_addresses_lead_to_each_space() {
    let words = run(
        ".local .align 4 .b8 own[4];\nmov.u64 %rd2, all;\ncvta.shared.u64 %rd3, %rd2;\nst.u32 [%rd3+4], 7;\n\
         ld.shared.u32 %r1, [all+4];\ncvta.to.shared.u64 %rd4, %rd3;\nld.shared.u32 %r2, [%rd4+4];\n\
         cvta.to.global.u64 %rd5, %rd0;\nld.u32 %r3, [%rd5+8];\nmov.u64 %rd6, own;\n\
         cvta.local.u64 %rd7, %rd6;\nst.u32 [%rd7], 9;\nld.local.u32 %r4, [own];\n\
         st.global.v4.b32 [%rd0], {%r1, %r2, %r3, %r4};",
        1,
        &[0, 0, 8, 0],
    );
    assert_eq!(words, [7, 7, 8, 9]);
}
