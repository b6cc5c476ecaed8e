use crate::support::{error, evaluate, run};

const MINUS: u64 = u32::MAX as u64;

#[test]
fn sums_and_products() {
    assert_eq!(evaluate("add.u32", "rrr", &[MINUS, 2]), 1);
    assert_eq!(evaluate("sub.s64", "ddd", &[1, 2]), u64::MAX);
    assert_eq!(
        evaluate("add.sat.s32", "rrr", &[0x7fff_ffff, 1]),
        0x7fff_ffff
    );
    assert_eq!(
        evaluate("sub.sat.s32", "rrr", &[0x8000_0000, 1]),
        0x8000_0000
    );
    assert_eq!(evaluate("mul.lo.u32", "rrr", &[0x10001, 0x10001]), 0x20001);
    assert_eq!(evaluate("mul.hi.u32", "rrr", &[MINUS, MINUS]), 0xffff_fffe);
    assert_eq!(evaluate("mul.hi.s32", "rrr", &[MINUS, 5]), MINUS);
    assert_eq!(evaluate("mul.hi.u64", "ddd", &[u64::MAX, 4]), 3);
    assert_eq!(evaluate("mul.hi.s64", "ddd", &[u64::MAX, 4]), u64::MAX);
    assert_eq!(evaluate("mul.wide.u32", "drr", &[MINUS, 2]), 0x1_ffff_fffe);
    assert_eq!(evaluate("mul.wide.s32", "drr", &[MINUS, 2]), -2i64 as u64);
    assert_eq!(
        evaluate("mul.wide.u16", "rhh", &[0xffff, 0xffff]),
        0xfffe_0001
    );
    assert_eq!(evaluate("mul.lo.s16", "hhh", &[0xffff, 3]), 0xfffd);
    assert_eq!(evaluate("mad.lo.s32", "rrrr", &[3, 4, 5]), 17);
    assert_eq!(evaluate("mad.wide.s32", "drrd", &[MINUS, 4, 5]), 1);
    assert_eq!(evaluate("mad.hi.u32", "rrrr", &[MINUS, 2, 7]), 8);
    assert_eq!(evaluate("sad.s32", "rrrr", &[MINUS, 4, 1]), 6);
    assert_eq!(evaluate("sad.u32", "rrrr", &[MINUS, 4, 0]), 0xffff_fffb);
}

#[test]
fn quotients() {
    assert_eq!(
        evaluate("div.s32", "rrr", &[-7i32 as u32 as u64, 2]),
        -3i32 as u32 as u64
    );
    assert_eq!(evaluate("rem.s32", "rrr", &[-7i32 as u32 as u64, 2]), MINUS);
    assert_eq!(evaluate("div.u32", "rrr", &[MINUS, 2]), 0x7fff_ffff);
    assert_eq!(evaluate("rem.u64", "ddd", &[u64::MAX, 10]), 5);
    assert_eq!(evaluate("div.s16", "hhh", &[0xfff8, 2]), 0xfffc);
    let message = error("mov.b32 %r1, 0;\ndiv.u32 %r2, %r0, %r1;", 1, &[0]);
    assert!(message.contains("divides by zero"), "{message}");
}

#[test]
fn choices() {
    assert_eq!(evaluate("min.s32", "rrr", &[MINUS, 1]), MINUS);
    assert_eq!(evaluate("min.u32", "rrr", &[MINUS, 1]), 1);
    assert_eq!(evaluate("max.s64", "ddd", &[u64::MAX, 1]), 1);
    assert_eq!(evaluate("max.u16", "hhh", &[0xffff, 1]), 0xffff);
    assert_eq!(evaluate("abs.s32", "rr", &[MINUS]), 1);
    assert_eq!(evaluate("abs.s32", "rr", &[0x8000_0000]), 0x8000_0000);
    assert_eq!(evaluate("neg.s32", "rr", &[1]), MINUS);
}

#[test]
fn carries_go_on() {
    let words = run(
        "mov.b32 %r1, 0xffffffff;\nadd.cc.u32 %r2, %r1, 1;\naddc.cc.u32 %r3, %r1, 0;\naddc.u32 %r4, 5, 0;\n\
         sub.cc.u32 %r5, 0, 1;\nsubc.u32 %r6, 9, 3;\n\
         mad.lo.cc.u32 %r7, %r1, %r1, %r1;\nmadc.hi.u32 %r8, %r1, %r1, 0;\n\
         st.global.v4.b32 [%rd0], {%r2, %r3, %r4, %r5};\nst.global.b32 [%rd0+16], %r6;\n\
         st.global.b32 [%rd0+20], %r7;\nst.global.b32 [%rd0+24], %r8;",
        1,
        &[9; 8],
    );
    // (2^32 - 1)^2 + 2^32 - 1 is (2^32 - 1) 2^32.
    assert_eq!(words[..7], [0, 0, 6, u32::MAX, 5, 0, u32::MAX]);
}

#[test]
fn comparisons_join_predicates() {
    assert_eq!(evaluate("setp.lt.s32", "prr", &[MINUS, 1]), 1);
    assert_eq!(evaluate("setp.lt.u32", "prr", &[MINUS, 1]), 0);
    assert_eq!(evaluate("setp.hi.u32", "prr", &[MINUS, 1]), 1);
    assert_eq!(evaluate("setp.ne.b64", "pdd", &[1, 1]), 0);
    assert_eq!(evaluate("setp.eq.and.s32", "prrp", &[1, 1, 0]), 0);
    assert_eq!(evaluate("setp.eq.or.s32", "prrp", &[1, 2, 1]), 1);
    assert_eq!(evaluate("setp.eq.xor.s32", "prrp", &[1, 1, 1]), 0);
    assert_eq!(evaluate("set.lt.u32.s32", "rrr", &[MINUS, 1]), MINUS);
    assert_eq!(
        evaluate("set.gt.f32.u32", "rrr", &[MINUS, 1]),
        u64::from(1f32.to_bits())
    );
    let words = run(
        "setp.lt.u32 %p1|%p2, %r0, 3;\nselp.u32 %r1, 7, 8, %p1;\nselp.u32 %r2, 7, 8, %p2;\n\
         st.global.v2.b32 [%rd0], {%r1, %r2};",
        1,
        &[0, 0],
    );
    assert_eq!(words, [7, 8]);
}

#[test]
fn branches_and_calls() {
    let text = format!(
        "{}.func (.param .b32 out) twice(.param .b32 in)\n{{\n.reg .b32 %r<3>;\nld.param.b32 %r1, [in];\n\
         shl.b32 %r2, %r1, 1;\nst.param.b32 [out], %r2;\nret;\n}}\n\
         .visible .entry k(.param .u64 k_0)\n{{\n.reg .b64 %rd<3>;\n.reg .b32 %r<9>;\n.reg .pred %p<3>;\n\
         ld.param.u64 %rd0, [k_0];\nmov.u32 %r1, 0;\nmov.u32 %r2, 0;\n\
         $loop:\nadd.u32 %r2, %r2, %r1;\nadd.u32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, 10;\n@%p1 bra $loop;\n\
         {{\n.param .b32 in;\nst.param.b32 [in], %r2;\n.param .b32 out;\ncall.uni (out), twice, (in);\n\
         ld.param.b32 %r3, [out];\n}}\n@!%p1 add.u32 %r3, %r3, 1;\n@%p1 add.u32 %r3, %r3, 100;\n\
         st.global.b32 [%rd0], %r3;\nret;\n}}\n",
        crate::support::HEAD
    );
    let code = burn_lazy_standin::translate::compile(&text).unwrap();
    assert_eq!(code.kernels.len(), 1);
    drop(code);
    let order = burn_lazy_standin::machine::Order::Forward;
    assert_eq!(
        crate::support::run_words(&text, 1, 1, &[0], order).unwrap(),
        [91]
    );
}
