use crate::support::{error, run};

fn numbers() -> Vec<u32> {
    (0..32).map(|k| k * k).collect()
}

/// The results of a shuffle for all lanes. Each lane gives the square of its number; 1000000 is
/// added where the source is in range.
fn shuffled(instruction: &str) -> Vec<u32> {
    let body = format!(
        "ld.global.b32 %r1, [%rd1];\n{instruction}\nselp.b32 %r3, 1000000, 0, %p1;\nadd.u32 %r2, %r2, %r3;\n\
         st.global.b32 [%rd1], %r2;"
    );
    run(&body, 32, &numbers())
}

#[test]
fn shuffles() {
    let up = shuffled("shfl.sync.up.b32 %r2|%p1, %r1, 2, 0, -1;");
    let want = |lane: u32| {
        if lane < 2 {
            lane * lane
        } else {
            1_000_000 + (lane - 2) * (lane - 2)
        }
    };
    assert_eq!(up, (0..32).map(want).collect::<Vec<_>>());
    let down = shuffled("shfl.sync.down.b32 %r2|%p1, %r1, 1, 31, -1;");
    let want = |lane: u32| {
        if lane == 31 {
            961
        } else {
            1_000_000 + (lane + 1) * (lane + 1)
        }
    };
    assert_eq!(down, (0..32).map(want).collect::<Vec<_>>());
    let butterfly = shuffled("shfl.sync.bfly.b32 %r2|%p1, %r1, 16, 31, -1;");
    let want = |lane: u32| 1_000_000 + (lane ^ 16) * (lane ^ 16);
    assert_eq!(butterfly, (0..32).map(want).collect::<Vec<_>>());
    // Each lane takes the value of the first lane of its half.
    let index = shuffled("shfl.sync.idx.b32 %r2|%p1, %r1, 0, 0x101f, -1;");
    let want = |lane: u32| 1_000_000 + (lane & 16) * (lane & 16);
    assert_eq!(index, (0..32).map(want).collect::<Vec<_>>());
}

#[test]
fn votes() {
    let body = |instruction: &str| {
        format!("setp.lt.u32 %p1, %r0, 5;\n{instruction}\nst.global.b32 [%rd1], %r2;")
    };
    let all = |instruction: &str| run(&body(instruction), 32, &[9; 32])[7];
    assert_eq!(all("vote.sync.ballot.b32 %r2, %p1, -1;"), 31);
    let as_word = |mode: &str| {
        all(&format!(
            "vote.sync.{mode}.pred %p2, %p1, -1;\nselp.b32 %r2, 1, 0, %p2;"
        ))
    };
    assert_eq!((as_word("any"), as_word("all"), as_word("uni")), (1, 0, 0));
    assert_eq!(all("redux.sync.add.u32 %r2, %r0, -1;"), 496);
    assert_eq!(all("redux.sync.max.s32 %r2, %r0, -1;"), 31);
    assert_eq!(all("elect.sync %r2|%p2, -1;\nselp.b32 %r2, 5, 6, %p2;"), 6);
}

#[test]
fn a_part_of_a_plane_waits_for_itself_only() {
    let words = run(
        "setp.lt.u32 %p1, %r0, 8;\n@!%p1 bra done;\nshfl.sync.bfly.b32 %r2, %r0, 1, 31, 0xff;\n\
         st.global.b32 [%rd1], %r2;\ndone:",
        32,
        &[7; 32],
    );
    assert_eq!(words[..10], [1, 0, 3, 2, 5, 4, 7, 6, 7, 7]);
}

#[test]
fn lanes_that_do_not_come_are_an_error() {
    let message = error(
        "setp.lt.u32 %p1, %r0, 8;\n@!%p1 bra done;\nshfl.sync.bfly.b32 %r2, %r0, 1, 31, -1;\ndone:",
        32,
        &[7; 32],
    );
    assert!(message.contains("wait for each other"), "{message}");
    let message = error("shfl.sync.bfly.b32 %r2, %r0, 1, 31, 1;", 2, &[7; 32]);
    assert!(message.contains("is not among the lanes"), "{message}");
}
