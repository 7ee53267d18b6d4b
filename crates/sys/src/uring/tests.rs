//! Rings of a test, where the kernel has io_uring.

use io_uring::types::Fd;

use super::*;

/// A ring with its pool; `None` where the kernel has no io_uring.
fn ring() -> Option<(Uring, BufferPool)> {
    let pool = BufferPool::new(2).unwrap();
    Uring::new(&pool, 2).ok().map(|uring| (uring, pool))
}

#[test]
fn the_buffers_of_another_pool_are_refused() {
    let Some((mut uring, _pool)) = ring() else { return };
    let mut other = BufferPool::new(2).unwrap();
    let lend = std::panic::AssertUnwindSafe(|| uring.provide_buffers(&mut other, 2));
    assert!(std::panic::catch_unwind(lend).is_err());
}

#[test]
fn a_watched_descriptor_may_be_closed_after_the_wait() {
    let Some((mut uring, mut pool)) = ring() else { return };
    let (reader, writer) = pipe().unwrap();
    uring.wait([(reader.as_fd(), 7)], Some(Duration::ZERO)).unwrap();
    let (number, other) = (reader.as_raw_fd(), pipe().unwrap());
    // Its number may belong to something else from here on.
    drop(reader);
    let reused = pipe().unwrap();
    assert!([&reused.0, &reused.1].iter().any(|fd| fd.as_raw_fd() == number));
    let mut ready = Vec::new();
    let mut completions = |uring: &mut Uring| {
        uring.wait([], Some(Duration::ZERO)).unwrap();
        uring.completions(&mut pool, usize::MAX, |_, completion| {
            if let Completion::Ready { token } = completion {
                ready.push(token);
            }
        });
        ready.clone()
    };
    assert_eq!(completions(&mut uring), [0_u32; 0]);
    drop(writer);
    assert_eq!(completions(&mut uring), [7], "the end of the pipe that was watched");
    drop(other);
}

#[test]
fn other_requests_than_those_of_this_file_are_refused() {
    let Some((mut uring, mut pool)) = ring() else { return };
    let requests = [
        opcode::Nop::new().build(),
        opcode::Close::new(Fd(0)).build(),
        opcode::OpenAt::new(Fd(libc::AT_FDCWD), c"/".as_ptr()).build(),
        opcode::Socket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0).build(),
    ];
    let count = requests.len();
    for request in requests {
        uring.push(request.user_data(tag(WRITE, 0, 0, 0))).unwrap();
    }
    uring.submit().unwrap();
    let mut refused = 0;
    uring.completions(&mut pool, usize::MAX, |_, completion| {
        let is_refused = matches!(completion, Completion::WriteFailed { errno: libc::EACCES, .. });
        refused += usize::from(is_refused);
    });
    assert_eq!(refused, count);
    assert!(uring.ring.submitter().unregister_files().is_err());
}

#[test]
fn after_a_failed_send_nothing_is_submitted() {
    let Some((mut uring, _pool)) = ring() else { return };
    let frame = [0; 60];
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        uring.send(2, |number| match number {
            0 => (0, 1, false, 0, &frame[..]),
            _ => panic!("the caller fails"),
        })
    }));
    assert!(failed.is_err());
    assert!(uring.submit().is_err() && uring.submit_all().is_err());
    assert!(uring.wait([], Some(Duration::ZERO)).is_err());
    assert!(uring.arm(0, 1).is_err() && uring.send(0, |_| (0, 1, false, 0, &[])).is_err());
}
