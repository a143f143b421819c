! What vario.h refuses is refused in Fortran. Prints only what is not as expected.
program errors
  use, intrinsic :: ieee_arithmetic, only: ieee_value, ieee_positive_inf
  use mpi
  use vario
  implicit none
  real(c_float), target :: w(2) = 0
  type(c_ptr) :: opt, weights(1)
  type(vario_tensor) :: tensors(1)
  character(len=2), target :: name = "w" // c_null_char
  integer :: code

  call MPI_Init(code)
  tensors(1)%name = c_loc(name)
  tensors(1)%shape(1) = 2
  weights(1) = c_loc(w)
  call expect(vario_create(opt, -7, tensors, 1_c_size_t, weights), "a handle of none found")
  call expect(vario_create(opt, MPI_COMM_NULL, tensors, 1_c_size_t, weights), &
    "MPI_COMM_NULL found")
  if (c_associated(opt)) print *, "an optimizer of a failure"
  if (vario_rounds(opt) /= 0 .or. vario_item(opt) /= -1 .or. vario_steps(opt) /= 0) &
    print *, "numbers of NULL"
  call expect(vario_step(opt, 1.0_c_double), "vario_step: an optimizer expected, NULL found")
  w(2) = ieee_value(w(2), ieee_positive_inf)
  call expect(vario_create(opt, MPI_COMM_WORLD, tensors, 1_c_size_t, weights), &
    "element 1 is inf, a finite number expected")
  call vario_free(opt)
  call MPI_Finalize(code)
contains
  subroutine expect(status, sentence)
    integer(c_int), intent(in) :: status
    character(len=*), intent(in) :: sentence
    if (status /= VARIO_INPUT .or. index(vario_error(), sentence) == 0) &
      print *, status, vario_error()
  end subroutine expect
end program errors
