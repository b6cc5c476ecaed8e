//! Faults that the machine must report.

use burn_lazy_standin::machine::Order;
use burn_lazy_standin::translate::compile;

use crate::support::{error, kernel, run, run_words};

/// Asserts that the kernel fails and that the error contains all of `says`.
#[track_caller]
fn refused(body: &str, units: u32, words: &[u32], says: &[&str]) {
    let message = error(body, units, words);
    for part in says {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn accesses_out_of_bounds() {
    let words = [0; 8];
    refused(
        "ld.global.b32 %r1, [%rd0+32];",
        1,
        &words,
        &[
            "kernel k",
            "ld.global.b32 %r1, [%rd0+32];",
            "reads 4 bytes",
            "at 32 of an allocation of 32 bytes",
        ],
    );
    refused(
        "st.global.b32 [%rd0+-4], %r0;",
        1,
        &words,
        &["writes 4 bytes"],
    );
    refused(
        "st.global.b32 [%rd1], %r0;",
        9,
        &words,
        &["unit [8, 0, 0] of cube [0, 0, 0]"],
    );
    refused(
        "ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%rd0+32];",
        1,
        &words,
        &["reads 16 bytes"],
    );
    refused(
        "mov.b32 %r2, 1024;\nst.shared.b32 [%r2], %r0;",
        1,
        &words,
        &["of 1024 bytes of shared memory"],
    );
    refused(
        "mov.b64 %rd2, 0;\nld.b32 %r1, [%rd2];",
        1,
        &words,
        &["in no allocation"],
    );
    refused("ld.global.b8 %r1, [%rd9];", 1, &words, &["out of bounds"]);
    refused(
        "atom.global.add.u32 %r1, [%rd0+32], 1;",
        1,
        &words,
        &["changes 4 bytes"],
    );
}

#[test]
fn memory_of_a_unit_and_arguments_have_their_bounds() {
    let words = [0; 4];
    let local = |offset: u32| {
        format!(
            ".local .align 4 .b8 own[8];\nmov.u64 %rd2, own;\nst.local.b32 [%rd2+{offset}], %r0;\n\
             ld.local.b32 %r1, [own+4];\nst.global.b32 [%rd1], %r1;"
        )
    };
    assert_eq!(run(&local(4), 4, &words), [0, 1, 2, 3]);
    assert!(f32::from_bits(run(&local(0), 1, &words)[0]).is_nan());
    refused(&local(8), 1, &words, &["not in the memory of the unit"]);
    let argument = |offset: u32| format!("mov.b64 %rd2, k_0;\nld.param.b32 %r1, [%rd2+{offset}];");
    run(&argument(4), 1, &words);
    refused(&argument(8), 1, &words, &["not in the arguments"]);
    let error = compile(&kernel("ld.param.b32 %r1, [k_0+8];"))
        .err()
        .expect("an error");
    assert!(error.to_string().contains("4 bytes at 8 of 8"), "{error}");
}

#[test]
fn accesses_that_are_not_aligned() {
    let words = [0; 8];
    refused(
        "ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%rd0+4];",
        1,
        &words,
        &["no multiple of 16"],
    );
    refused(
        "st.global.b32 [%rd0+2], %r0;",
        1,
        &words,
        &["no multiple of 4"],
    );
    refused(
        "mov.b32 %r2, 4;\nst.shared.b64 [%r2], %rd0;",
        1,
        &words,
        &["no multiple of 8"],
    );
}

#[test]
fn fresh_memory_is_nan() {
    let words = run(
        "ld.shared.b32 %r1, [all+8];\nst.global.b32 [%rd0], %r1;\nst.global.b32 [%rd0+4], %r20;",
        1,
        &[0, 0],
    );
    assert!(words.iter().all(|word| f32::from_bits(*word).is_nan()));
}

const HAND_ON: &str = "mov.b32 %r1, all;\nmad.lo.u32 %r2, %r0, 4, %r1;\nst.shared.b32 [%r2], %r0;\nBARRIER\n\
    xor.b32 %r3, %r0, NEIGHBOUR;\nmad.lo.u32 %r4, %r3, 4, %r1;\nld.shared.b32 %r5, [%r4];\nst.global.b32 [%rd1], %r5;";

fn hand_on(barrier: &str, neighbour: &str) -> String {
    HAND_ON
        .replace("BARRIER", barrier)
        .replace("NEIGHBOUR", neighbour)
}

#[test]
fn races_in_shared_memory() {
    let words = [7; 64];
    for order in [
        Order::Forward,
        Order::Backward,
        Order::Alternating,
        Order::Random(3),
    ] {
        let text = kernel(&hand_on("bar.sync 0;", "33"));
        let got = run_words(&text, 64, 1, &words, order).unwrap();
        assert_eq!(got, (0..64).map(|k| k ^ 33).collect::<Vec<_>>());
        let text = kernel(&hand_on("", "33"));
        let message = run_words(&text, 64, 1, &words, order).unwrap_err();
        assert!(message.contains("a race"), "{message}");
        // A barrier of the plane orders the units of the plane, and no others.
        let text = kernel(&hand_on("bar.warp.sync -1;", "1"));
        run_words(&text, 64, 1, &words, order).unwrap();
        let text = kernel(&hand_on("bar.warp.sync -1;", "33"));
        let message = run_words(&text, 64, 1, &words, order).unwrap_err();
        assert!(message.contains("a race"), "{message}");
    }
}

#[test]
fn races_in_global_memory() {
    let words = [7; 64];
    refused(
        "st.global.b32 [%rd0], %r0;",
        2,
        &words,
        &["wrote with no barrier between"],
    );
    refused(
        "ld.global.b32 %r1, [%rd0];\nst.global.b32 [%rd1], %r1;",
        2,
        &words,
        &["a race"],
    );
    run("bar.sync 0;\nred.global.add.u32 [%rd0], 1;", 2, &words);
    // Barriers order only the units of a cube.
    let write = "mov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p1, %r0, 0;\n@%p1 st.global.b32 [%rd0], %r1;\nbar.sync 0;";
    assert!(run_words(&kernel(write), 2, 1, &words, Order::Forward).is_ok());
    let message = run_words(&kernel(write), 2, 2, &words, Order::Forward).unwrap_err();
    assert!(message.contains("unit 0 of cube 0 wrote"), "{message}");
}

#[test]
fn several_units_may_write_the_same_value() {
    let words = [7; 64];
    let same = "mov.b32 %r1, 5;\nst.shared.b32 [all], %r1;\nbar.sync 0;\nld.shared.b32 %r2, [all];\n\
                st.global.b32 [%rd1], %r2;";
    assert_eq!(run(same, 64, &words), [5; 64]);
    // A unit that writes another value is an error, even if nothing follows. So is a read.
    let other = same.replace("mov.b32 %r1, 5;", "and.b32 %r1, %r0, 32;");
    refused(&other, 64, &words, &["st.shared.b32 [all], %r1;", "a race"]);
    refused("st.global.b32 [%rd0], %r0;", 2, &words, &["a race"]);
    refused(&same.replace("bar.sync 0;\n", ""), 64, &words, &["a race"]);
}

#[test]
fn what_is_written_is_not_read_through_another_cache() {
    let words = [7; 2];
    let body = "st.global.b32 [%rd0], %r0;\nbar.sync 0;\nld.global.nc.b32 %r1, [%rd0];";
    refused(
        body,
        1,
        &words,
        &["ld.global.nc", "wrote in the same launch"],
    );
    run("ld.global.nc.b32 %r1, [%rd0];", 1, &words);
}

#[test]
fn atomic_sums_are_whole() {
    let words = run("red.global.add.f32 [%rd0], 0f40000000;", 64, &[0; 2]);
    assert_eq!(f32::from_bits(words[0]), 128.0);
    let words = run(
        "atom.global.add.u32 %r1, [%rd0], 3;\nst.global.b32 [%rd1+4], %r1;",
        3,
        &[5; 4],
    );
    assert_eq!(words, [14, 5, 8, 11]);
}

#[test]
fn barriers_that_not_all_reach() {
    let words = [0; 64];
    let two = "setp.lt.u32 %p1, %r0, 32;\n@%p1 bra one;\nbar.sync 0;\nbra done;\none:\nbar.sync 0;\ndone:";
    refused(two, 64, &words, &["is at the barrier of line"]);
    refused(
        "setp.lt.u32 %p1, %r0, 32;\n@%p1 ret;\nbar.sync 0;",
        64,
        &words,
        &["has ended"],
    );
    refused(
        "setp.lt.u32 %p1, %r0, 32;\n@%p1 trap;",
        64,
        &words,
        &["stops the launch"],
    );
}

#[test]
fn loops_that_do_not_end() {
    refused(
        "again:\nbra again;",
        1,
        &[0],
        &["does not end", "bra again;"],
    );
}

#[test]
fn what_is_not_known_is_named() {
    for (instruction, says) in [
        ("frobnicate.u32 %r1, %r2;", "'frobnicate.u32' is not known"),
        (
            "add.strange.u32 %r1, %r2, %r3;",
            "'.strange' is not known here",
        ),
        ("bar.sync 1;", "'bar.sync' is not known"),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 %r1, %r2, %r3, %r4;",
            "'mma.sync",
        ),
        (
            "cp.async.ca.shared.global [%r1], [%rd0], 16;",
            "'cp.async.ca",
        ),
        ("mov.u64 %rd2, %clock64;", "'%clock64' is not known"),
        ("div.rz.f32 %r1, %r2, %r3;", "'div.rz.f32' is not known"),
        ("bra nowhere;", "no label 'nowhere'"),
    ] {
        let error = compile(&kernel(instruction)).err().expect("an error");
        let message = error.to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.contains(instruction), "{message}");
    }
}
