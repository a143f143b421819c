! A line through noisy points, with IVON's posterior of its slope and intercept, from Fortran:
!
!     gfortran $(pkg-config --variable=fortran_module vario) line.f90 $(pkg-config --libs vario)
program line
  use vario
  implicit none
  real(c_float), target :: slope(1) = 0, intercept(1) = 0, g_slope(1), g_intercept(1)
  character(len=10), target :: names(2) = ["slope"//c_null_char//"    ", "intercept"//c_null_char]
  type(vario_tensor) :: tensors(2)
  type(vario_settings) :: settings
  type(c_ptr) :: opt, weights(2), gradients(2)
  real :: x(100), y(100), wrong(100)
  integer :: i, step

  x = [(real(i) / 50 - 1, i = 1, 100)]
  y = 2 * x + 1 + 0.1 * [(sin(37.0 * i * i), i = 1, 100)]
  weights = [c_loc(slope), c_loc(intercept)]
  gradients = [c_loc(g_slope), c_loc(g_intercept)]
  do i = 1, 2
    tensors(i)%name = c_loc(names(i))
    tensors(i)%shape(1) = 1
  end do
  call vario_defaults(settings)
  settings%ess = 100
  settings%hessian_init = 1
  settings%beta2 = 0.99d0
  settings%rescale_lr = 0
  call check(vario_create_alone(opt, tensors, 2_c_size_t, weights, settings))

  do step = 1, 2000
    call check(vario_sample(opt, weights))        ! unlike Adam: weights are drawn
    wrong = slope(1) * x + intercept(1) - y
    g_slope = 2 * sum(wrong * x) / size(x)
    g_intercept = 2 * sum(wrong) / size(x)
    call check(vario_accumulate(opt, gradients))  ! unlike Adam: gradients are handed over
    call check(vario_step(opt, 0.1d0 * (2001 - step) / 2000))
  end do

  call check(vario_mean(opt, weights))
  call check(vario_deviation(opt, gradients))
  print "(a, f6.3, a, f6.3)", "slope     ", slope, " +- ", g_slope
  print "(a, f6.3, a, f6.3)", "intercept ", intercept, " +- ", g_intercept
  call vario_free(opt)

contains

  subroutine check(status)
    integer(c_int), intent(in) :: status
    if (status /= VARIO_OK) error stop vario_error()
  end subroutine check

end program line
